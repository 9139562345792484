// The table of LiteRT's profiler: see litert_operators in ../edgekit_bench/litert_profiler.py.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define MOST_WORDS 64
#define COLUMNS 7  // start, first, average, share, shares so far, memory, calls; the name comes after

struct word {
  const char *at;
  size_t length;
};

static size_t split(const char *line, size_t length, struct word *words) {
  size_t count = 0;
  const char *end = line + length;
  while (count < MOST_WORDS) {
    while (line < end && *line == ' ') line++;
    if (line == end) break;
    const char *from = line;
    while (line < end && *line != ' ') line++;
    words[count++] = (struct word){from, (size_t)(line - from)};
  }
  return count;
}

// Whether it is a number as the column has it: whole, with a share's sign, or neither.
static bool fits(struct word word, size_t column) {
  size_t digits = strspn(word.at, column == 6 ? "0123456789" : "0123456789.");
  bool share = column == 3 || column == 4;
  return digits > 0 && word.length == digits + share && (!share || word.at[digits] == '%');
}

// Where the columns of numbers begin in a row; 0 where it is none.
static size_t columns_of(const struct word *words, size_t count) {
  for (size_t first = 1; first + COLUMNS < count; first++) {
    size_t column = 0;
    while (column < COLUMNS && fits(words[first + column], column)) column++;
    if (column == COLUMNS) return first;
  }
  return 0;
}

static void add_operator(const char *line, size_t length, double whole_us, struct text *to) {
  static const char delegate[] = "Delegate/";
  struct word words[MOST_WORDS];
  size_t count = split(line, length, words), first = columns_of(words, count);
  if (first == 0) return;
  const char *kind = words[0].at, *kind_end = words[first - 1].at + words[first - 1].length;
  const char *name = words[first + COLUMNS].at;
  const char *name_end = words[count - 1].at + words[count - 1].length;
  bool delegated = strncmp(kind, delegate, sizeof delegate - 1) == 0;
  if (delegated) kind += sizeof delegate - 1;
  double share = strtod(words[first + 3].at, NULL);
  text_format(to, "%s{\"name\": ", to->length ? ", " : "");
  text_json_bytes(to, name, (size_t)(name_end - name));
  text_add(to, ", \"kind\": ");
  text_json_bytes(to, kind, (size_t)(kind_end - kind));
  // The share is the finest of its numbers: in percent, of the whole in microseconds.
  text_format(to, ", \"where\": \"%s\", \"calls\": %ld, \"ns\": %.0f}",
              delegated ? "xnnpack" : "cpu", strtol(words[first + 6].at, NULL, 10),
              round(10 * share * whole_us));
}

void litert_operators(const char *summary, struct text *to) {
  const char *whole = strstr(summary, "Timings (microseconds):");
  const char *table = strstr(summary, "Run Order");
  whole = whole ? strstr(whole, "curr=") : NULL;
  if (whole == NULL || table == NULL) return;
  double whole_us = strtod(whole + strlen("curr="), NULL);
  const char *end = strstr(table, "\n\n");
  if (end == NULL) end = table + strlen(table);
  while (table < end) {
    size_t length = strcspn(table, "\n");
    add_operator(table, length, whole_us, to);
    table += length + (table[length] != 0);
  }
}
