# serve: prints the bundle's table of contents.
grep '^item' /srv/bundle.txt | sort | uniq -c
