#include "table.h"

#include <stdlib.h>
#include <string.h>

static struct entry *entries;

struct entry *table_add(const char *word)
{
    struct entry **at = &entries;
    while (*at && strcmp((*at)->word, word) < 0)
        at = &(*at)->next;
    if (!*at || strcmp((*at)->word, word) != 0) {
        struct entry *made = malloc(sizeof *made);
        if (!made || !(made->word = strdup(word)))
            exit(2);
        made->count = 0;
        made->next = *at;
        *at = made;
    }
    (*at)->count++;
    return *at;
}

struct entry *table_first(void)
{
    return entries;
}
