# SPDX-License-Identifier: Apache-2.0
# The front door. Meson and ninja do the work; `make` alone builds.

.DEFAULT_GOAL := build
.PHONY: build quickstart quickstart-ec2 stop purge test soak bench lint fmt fuzz deps install clean help

help:
	@echo 'make              build'
	@echo 'make quickstart   as root: install what is needed, build, start, reserve a machine, log in'
	@echo 'make quickstart-ec2  the same by EC2 API: hearth-ec2 on this host, and a hearthd that knows nothing else'
	@echo 'make stop         as root: end what a quickstart started (make purge: remove its files, too)'
	@echo 'make test         a seeded sample of all tests, at most 15 minutes; as root: with real machines'
	@echo 'make soak         all of the tests, as long as it takes'
	@echo 'make bench        measure'
	@echo 'make lint fmt     check the style, or set it'
	@echo 'make fuzz         fuzz every parser (FUZZ_SECONDS=60 each)'
	@echo 'make install      as root: programs, man pages, systemd unit, completions (DESTDIR, PREFIX)'
	@echo 'make clean        remove what was built'

build:
	@tools/build.sh build

deps:
	@tools/deps.sh build run test

quickstart:
	@tools/quickstart.sh

quickstart-ec2:
	@tools/quickstart.sh --ec2

stop:
	@tools/stop.sh

purge:
	@tools/stop.sh --purge

test:
	@tools/test.sh

soak:
	@HEARTH_SOAK=1 tools/test.sh

bench:
	@tools/bench.sh

lint:
	@tools/lint.sh

fmt:
	@tools/fmt.sh

fuzz:
	@tools/fuzz.sh

install:
	@tools/install.sh

clean:
	rm -rf build build-test build-asan build-tsan build-fuzz build-bench build-install
