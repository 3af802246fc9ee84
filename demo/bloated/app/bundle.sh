# bundle.sh DIRECTORY OUTPUT: repeats a directory's files into one large bundle.
set -eu
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  for file in "$1"/*; do
    printf 'asset %s %s\n' "$round" "$file"
    cat "$file"
  done
done >"$2"
echo "bundle: $(wc -c <"$2") bytes"
