#include "table.h"
#include "text.h"

int main(int argc, char **argv)
{
    char word[256];
    FILE *in = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!in) {
        perror(argv[1]);
        return 1;
    }
    while (text_word(in, word, sizeof word))
        table_add(word);
    for (struct entry *entry = table_first(); entry; entry = entry->next)
        printf("%lu %s\n", entry->count, entry->word);
    return 0;
}
