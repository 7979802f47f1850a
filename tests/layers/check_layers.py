#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: every #include of src/ is one that the table in docs/architecture.md allows.

check_layers.py [TOP] checks a source tree; check_layers.py --self-test shows that each kind of breach is seen.
"""

import pathlib
import re
import sys
import tempfile

FOLDERS = ["base", "model", "ssh", "net", "launcher", "init", "store", "provider", "core", "api", "yaml", "host",
           "daemon", "ec2", "cli", "aws", "github"]

# How the table names a library, and its headers.
LIBRARIES = {
    "libcrypto": r"openssl/",
    "libuv": r"uv\.h$",
    "libmicrohttpd": r"microhttpd\.h$",
    "libcap": r"sys/capability\.h$",
    "libseccomp": r"seccomp\.h$",
    "libmnl": r"libmnl/",
    "sqlite3": r"sqlite3\.h$",
    "jansson": r"jansson\.h$",
    "libyaml": r"yaml\.h$",
    "libcurl": r"curl/",
    "expat": r"expat\.h$",
}

LIBC = re.compile(
    r"(sys|linux|net|netinet|arpa|asm)/|(assert|ctype|dirent|endian|errno|fcntl|fnmatch|getopt|glob|grp|ifaddrs|inttypes|"
    r"libgen|limits|locale|malloc|math|netdb|poll|pthread|pty|pwd|sched|setjmp|signal|spawn|stdarg|stdatomic|stdbool|stddef|stdint|stdio|"
    r"stdlib|string|strings|syscall|syslog|termios|time|unistd|utmp|wait)\.h$"
)

# Words of the table that mean something narrower than a folder.
PHRASES = {
    "store.h": [r"store/store\.h$"],
    "provider.h": [r"provider/provider\.h$"],
    "net's client": [r"net/client\.h$"],
    "launcher's protocol header": [r"launcher/protocol\.h$"],
    "init's protocol header": [r"init/control\.h$"],
    "libc (musl)": [],
    "libc": [],
}
LOCAL_ALSO = "local/ also launcher's and init's protocol headers"
EC2_ALSO = "ec2/ also aws"
LOCAL_HEADERS = [r"launcher/protocol\.h$", r"init/control\.h$"]


def allowed(top):
    """folder -> (patterns of project headers, patterns of system headers), from the document's table."""
    rules, above, above_libs = {}, [], []
    for line in (top / "docs/architecture.md").read_text().splitlines():
        row = re.match(r"\| `src/(\w+)/` \|[^|]*\|([^|]*)\|", line)
        if not row:
            continue
        folder, headers, libs = row[1], [rf"{row[1]}/"], []
        for word in (w.strip() for w in re.split(r"[,;]", row[2])):
            if word == "everything above":
                headers, libs = headers + above, libs + above_libs
            elif word in PHRASES:
                headers += PHRASES[word]
            elif word in FOLDERS:
                headers.append(rf"{word}/")
            elif word in LIBRARIES:
                libs.append(LIBRARIES[word])
            elif word == LOCAL_ALSO:
                rules["provider/local"] = (headers + LOCAL_HEADERS, libs)
            elif word == EC2_ALSO:
                rules["provider/ec2"] = (headers + ["aws/"], libs)
            else:
                sys.exit(f"docs/architecture.md: '{word}' in the row of src/{folder}/ means nothing to this test")
        rules[folder] = (headers, libs)
        above.append(rf"{folder}/")
        above_libs += libs
    missing = [f for f in FOLDERS if f not in rules]
    if missing:
        sys.exit(f"docs/architecture.md: the table of folders has no row for {', '.join(missing)}")
    return rules


def breaches(top):
    rules, found, files = allowed(top), [], 0
    for path in sorted((top / "src").rglob("*.[ch]")):
        where = path.relative_to(top / "src")
        folder = "/".join(where.parts[:2]) if "/".join(where.parts[:2]) in rules else where.parts[0]
        if folder not in rules:
            found.append(f"src/{where}: the folder is not in the table")
            continue
        headers, libs = rules[folder]
        files += 1
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not include:
                continue
            project, name = include[1] == '"', include[2]
            fine = any(re.match(p, name) for p in (headers if project else libs))
            if not project and not any(re.match(p, name) for p in LIBRARIES.values()):
                fine = LIBC.match(name) is not None
            if not fine:
                found.append(f"src/{where}:{number}: src/{folder}/ may not include {name}")
    return found, files


def self_test(top):
    cases = {
        "core/x.c": ["<uv.h>", "<sqlite3.h>", "<microhttpd.h>", '"api/api.h"', '"store/sqlite_impl.h"', '"net/loop.h"'],
        "base/x.c": ['"model/model.h"', "<jansson.h>", "<curl/curl.h>"],
        "launcher/x.c": ['"net/loop.h"', "<jansson.h>", "<uv.h>"],
        "init/x.c": ['"base/err.h"'],
        "cli/x.c": ['"net/loop.h"', '"model/model.h"', "<openssl/evp.h>"],
        "provider/x.c": ['"launcher/protocol.h"', '"core/core.h"'],
        "provider/local/x.c": ['"launcher/launcher.h"', '"core/core.h"'],
        "elsewhere/x.c": ["<stdio.h>"],
    }
    fine = {"daemon/x.c": ['"core/core.h"', "<uv.h>"], "provider/local/x.c": ['"init/control.h"'], "cli/x.c": ['"net/client.h"']}
    for expected, table in ((1, cases), (0, fine)):
        for name, includes in table.items():
            for include in includes:
                with tempfile.TemporaryDirectory() as d:
                    tree = pathlib.Path(d)
                    (tree / "docs").mkdir()
                    (tree / "docs/architecture.md").write_text((top / "docs/architecture.md").read_text())
                    file = tree / "src" / name
                    file.parent.mkdir(parents=True)
                    file.write_text(f"#include {include}\n")
                    if len(breaches(tree)[0]) != expected:
                        sys.exit(f"self-test: src/{name} with #include {include}: expected {expected} breaches")
    print("self-test: every breach was seen")


def main():
    args = sys.argv[1:]
    test_itself = "--self-test" in args
    args = [a for a in args if a != "--self-test"]
    top = pathlib.Path(args[0]) if args else pathlib.Path(__file__).resolve().parents[2]
    if test_itself:
        return self_test(top)
    found, files = breaches(top)
    if files < 30:
        sys.exit(f"only {files} files were looked at: not the source tree?")
    for line in found:
        print(line, file=sys.stderr)
    if found:
        sys.exit(f"{len(found)} breaches of the table in docs/architecture.md")
    print(f"{files} files keep to the table")


if __name__ == "__main__":
    main()
