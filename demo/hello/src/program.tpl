#!/bin/sh
## greet FILE: prints a line for each name in FILE.
while read -r name; do
  printf '%s, %s%s\n' '@GREETING@' "$name" '@MARK@'
done <"${1:?usage: greet FILE}"
