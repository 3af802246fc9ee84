# compile.sh TEMPLATE OUTPUT: fills a template's @NAMES@ in and makes it a program.
set -eu
case ${STYLE:-plain} in
  friendly) mark='!' ;;
  *) mark='.' ;;
esac
echo "compiling $1 in the $STYLE style"
sed -e "s/@GREETING@/$GREETING/" -e "s/@MARK@/$mark/" -e '/^## /d' "$1" >"$2"
chmod 755 "$2"
echo "wrote $2: $(wc -c <"$2") bytes"
