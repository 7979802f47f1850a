# SPDX-License-Identifier: Apache-2.0
# bash completion for hearth(1); names come from the daemon, and only when it answers.

_hearth_names()
{
	hearth "$@" 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_hearth()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local verb='' group='' words='' i
	local globals="--socket --json --help"
	local reserve="--pool --hours --name --key --github --disk --wait-disk --require-disk --snapshot-disks --count --idle
		--request-id --no-wait --no-warm --trace"

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket) ((i++)) ;;
		--) return ;;
		-*) ;;
		*)
			if [[ -z $verb ]]; then
				verb=${COMP_WORDS[i]}
			elif [[ -z $group ]]; then
				group=${COMP_WORDS[i]}
			fi ;;
		esac
	done
	case $prev in
	--socket | --key)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	--pool) words=$(_hearth_names pool list) ;;
	--format) words="text chrome otlp" ;;
	--hours | --name | --github | --disk | --count | --idle | --request-id | --size | --from | --max-cost | \
	--running | --stopped | --hibernated | --max) return ;;
	*)
		case $verb in
		'') words="reserve run list show ssh cert extend cancel why trace pool machine disk image audit bench
			ssh-config help --version $globals" ;;
		help) words="reserve run list show ssh cert extend cancel why trace pool machine disk image audit bench ssh-config" ;;
		reserve | run) words="$reserve $globals" ;;
		list) words="--all $globals" ;;
		show | ssh | why) words="$(_hearth_names list) $globals" ;;
		cert) words="$(_hearth_names list) --key $globals" ;;
		extend) words="$(_hearth_names list) --hours $globals" ;;
		cancel) words="$(_hearth_names list) --no-wait $globals" ;;
		trace) words="$(_hearth_names list) --format $globals" ;;
		pool)
			case $group in
			'') words="list show set" ;;
			show) words="$(_hearth_names pool list) $globals" ;;
			set) words="$(_hearth_names pool list) --running --stopped --hibernated --max $globals" ;;
			*) words=$globals ;;
			esac ;;
		machine)
			case $group in
			'') words="list show" ;;
			show) words="$(_hearth_names machine list) $globals" ;;
			*) words=$globals ;;
			esac ;;
		disk)
			case $group in
			'') words="create list show snapshot clone delete" ;;
			create) words="--size --from $globals" ;;
			list) words="--all $globals" ;;
			delete) words="$(_hearth_names disk list) --yes $globals" ;;
			show | snapshot | clone) words="$(_hearth_names disk list) $globals" ;;
			*) words=$globals ;;
			esac ;;
		image)
			case $group in
			'') words="build list delete" ;;
			build) words="$(_hearth_names image list) --no-wait $globals" ;;
			delete) words="$(_hearth_names image list) $globals" ;;
			*) words=$globals ;;
			esac ;;
		audit) words="--repair $globals" ;;
		bench) words="all report --max-cost $globals" ;;
		*) words=$globals ;;
		esac ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _hearth hearth
