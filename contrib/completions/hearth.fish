# SPDX-License-Identifier: Apache-2.0
# fish completion for hearth(1); names come from the daemon, and only when it answers.

function __hearth_names
    hearth $argv 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __hearth_needs
    set -l words (commandline -opc)
    test (count $words) -eq 1
end

function __hearth_group
    set -l words (commandline -opc)
    test (count $words) -eq 2; and test "$words[2]" = $argv[1]
end

function __hearth_is
    set -l words (commandline -opc)
    test (count $words) -ge (count $argv); or return 1
    set -l i 2
    for word in $argv
        test "$words[$i]" = $word; or return 1
        set i (math $i + 1)
    end
end

complete -c hearth -f
complete -c hearth -l socket -r -F -d 'of hearthd'
complete -c hearth -l json -d 'one JSON document'
complete -c hearth -l help -d help
complete -c hearth -n __hearth_needs -l version -d 'which hearth this is'
complete -c hearth -n __hearth_needs -a reserve -d 'take a machine'
complete -c hearth -n __hearth_needs -a run -d 'take a machine, run a command on it, end'
complete -c hearth -n __hearth_needs -a list -d 'your reservations'
complete -c hearth -n __hearth_needs -a show -d 'all about one reservation'
complete -c hearth -n __hearth_needs -a ssh -d 'log in, or run a command'
complete -c hearth -n __hearth_needs -a cert -d 'a new certificate'
complete -c hearth -n __hearth_needs -a extend -d 'keep it longer'
complete -c hearth -n __hearth_needs -a cancel -d 'end reservations'
complete -c hearth -n __hearth_needs -a why -d 'why it took as long as it did'
complete -c hearth -n __hearth_needs -a trace -d 'every step, as a timeline'
complete -c hearth -n __hearth_needs -a pool -d 'what is kept ready'
complete -c hearth -n __hearth_needs -a machine -d machines
complete -c hearth -n __hearth_needs -a disk -d 'storage that outlives reservations'
complete -c hearth -n __hearth_needs -a image -d 'what machines boot from'
complete -c hearth -n __hearth_needs -a audit -d 'the ledger against what exists'
complete -c hearth -n __hearth_needs -a bench -d 'measure ways to get a machine'
complete -c hearth -n __hearth_needs -a ssh-config -d 'make ssh NAME.hearth work'
complete -c hearth -n __hearth_needs -a help -d help

for verb in reserve run
    complete -c hearth -n "__hearth_is $verb" -l pool -x -a '(__hearth_names pool list)' -d 'from this pool'
    complete -c hearth -n "__hearth_is $verb" -l hours -x -d 'for so long'
    complete -c hearth -n "__hearth_is $verb" -l name -x -d 'call it so'
    complete -c hearth -n "__hearth_is $verb" -l key -r -F -d 'for this public key'
    complete -c hearth -n "__hearth_is $verb" -l github -x -d 'for the keys of this user'
    complete -c hearth -n "__hearth_is $verb" -l disk -x -d 'with this disk'
    complete -c hearth -n "__hearth_is $verb" -l wait-disk -d 'wait until disks are attached'
    complete -c hearth -n "__hearth_is $verb" -l require-disk -d 'fail if a disk cannot be attached'
    complete -c hearth -n "__hearth_is $verb" -l snapshot-disks -d 'take a snapshot of each disk at its release'
    complete -c hearth -n "__hearth_is $verb" -l count -x -d 'so many, or none'
    complete -c hearth -n "__hearth_is $verb" -l idle -x -d 'end it when idle for so long'
    complete -c hearth -n "__hearth_is $verb" -l request-id -x -d 'asking again gives the same'
    complete -c hearth -n "__hearth_is $verb" -l no-wait -d 'now or not at all'
    complete -c hearth -n "__hearth_is $verb" -l no-warm -d 'launch a new machine'
    complete -c hearth -n "__hearth_is $verb" -l trace -d 'print the timeline'
end

for verb in show ssh cert extend cancel why trace
    complete -c hearth -n "__hearth_is $verb" -a '(__hearth_names list)'
end
complete -c hearth -n '__hearth_is list' -l all -d 'those that have ended, too'
complete -c hearth -n '__hearth_is cert' -l key -r -F -d 'for this public key'
complete -c hearth -n '__hearth_is extend' -l hours -x -d 'by so long'
complete -c hearth -n '__hearth_is cancel' -l no-wait -d 'do not wait until all is undone'
complete -c hearth -n '__hearth_is trace' -l format -x -a 'text chrome otlp'
complete -c hearth -n '__hearth_is audit' -l repair -d 'mend what is found'
complete -c hearth -n '__hearth_is bench' -a 'all report'
complete -c hearth -n '__hearth_is bench' -l max-cost -x -d 'stop before it costs more'

complete -c hearth -n '__hearth_group pool' -a 'list show set'
complete -c hearth -n '__hearth_group machine' -a 'list show'
complete -c hearth -n '__hearth_group disk' -a 'create list show snapshot clone delete'
complete -c hearth -n '__hearth_group image' -a 'build list delete'
complete -c hearth -n '__hearth_is pool show; or __hearth_is pool set' -a '(__hearth_names pool list)'
complete -c hearth -n '__hearth_is pool set' -l running -x -d 'so many spare ones running'
complete -c hearth -n '__hearth_is pool set' -l stopped -x -d 'so many spare ones stopped'
complete -c hearth -n '__hearth_is pool set' -l hibernated -x -d 'so many spare ones hibernated'
complete -c hearth -n '__hearth_is pool set' -l max -x -d 'so many in all'
complete -c hearth -n '__hearth_is machine show' -a '(__hearth_names machine list)'
complete -c hearth -n '__hearth_is disk create' -l size -x
complete -c hearth -n '__hearth_is disk create' -l from -x
complete -c hearth -n '__hearth_is disk list' -l all -d 'snapshots of deleted disks, too'
complete -c hearth -n '__hearth_is disk delete' -l yes -d 'do not ask'
for verb in show snapshot clone delete
    complete -c hearth -n "__hearth_is disk $verb" -a '(__hearth_names disk list)'
end
complete -c hearth -n '__hearth_is image build; or __hearth_is image delete' -a '(__hearth_names image list)'
complete -c hearth -n '__hearth_is image build' -l no-wait -d 'do not wait until it is built'
