#ifndef TABLE_H
#define TABLE_H

struct entry {
    char *word;
    unsigned long count;
    struct entry *next;
};

struct entry *table_add(const char *word);
struct entry *table_first(void);

#endif
