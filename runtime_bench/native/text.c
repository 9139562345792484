#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

bool in_stream = false;
void (*at_failure)(void) = NULL;

void *need_memory(void *old, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX;
  void *made = bytes <= SIZE_MAX / 2 ? realloc(old, bytes ? bytes : 1) : NULL;
  if (made == NULL) {
    // Nothing that allocates may be called any more.
    static const char said[] =
        "{\"event\": \"error\", \"code\": \"run_failed\", \"message\": \"out of memory\", "
        "\"hint\": \"\", \"status\": 5}\n";
    ssize_t ignored = write(STDOUT_FILENO, said, sizeof said - 1);
    (void)ignored;
    _exit(FAILED);
  }
  return made;
}

char *copy_text(const char *text) {
  size_t bytes = strlen(text) + 1;
  return memcpy(need_memory(NULL, bytes, 1), text, bytes);
}

void text_bytes(struct text *text, const void *bytes, size_t count) {
  if (text->room - text->length < count + 1 || text->data == NULL) {
    size_t room = text->room ? text->room : 64;
    while (room - text->length < count + 1) room *= 2;
    text->data = need_memory(text->data, room, 1);
    text->room = room;
  }
  if (count) memcpy(text->data + text->length, bytes, count);
  text->length += count;
  text->data[text->length] = 0;
}

void text_add(struct text *text, const char *more) { text_bytes(text, more, strlen(more)); }

static void text_formatted(struct text *text, const char *format, va_list values) {
  va_list again;
  va_copy(again, values);
  int length = vsnprintf(NULL, 0, format, values);
  if (length < 0) abort();  // only a wrong format does that
  char *made = need_memory(NULL, (size_t)length + 1, 1);
  vsnprintf(made, (size_t)length + 1, format, again);
  va_end(again);
  text_bytes(text, made, (size_t)length);
  free(made);
}

void text_format(struct text *text, const char *format, ...) {
  va_list values;
  va_start(values, format);
  text_formatted(text, format, values);
  va_end(values);
}

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
size_t utf8_length(const char *at, size_t left) {
  const unsigned char *c = (const unsigned char *)at;
  if (left == 0) return 0;
  if (c[0] < 0x80) return 1;
  size_t length = c[0] >= 0xC2 && c[0] <= 0xDF ? 2 : (c[0] & 0xF0) == 0xE0 ? 3 : 4;
  if (c[0] < 0xC2 || c[0] > 0xF4 || left < length) return 0;
  for (size_t i = 1; i < length; i++)
    if ((c[i] & 0xC0) != 0x80) return 0;
  if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F)) return 0;
  if ((c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F)) return 0;
  return length;
}

void text_json(struct text *text, const char *value) {
  text_json_bytes(text, value, strlen(value));
}

void text_json_bytes(struct text *text, const char *value, size_t left) {
  text_add(text, "\"");
  while (left > 0) {
    unsigned char c = (unsigned char)*value;
    size_t length = utf8_length(value, left);
    if (length == 0)
      text_add(text, "\xEF\xBF\xBD");
    else if (c == '"' || c == '\\')
      text_format(text, "\\%c", c);
    else if (c < 0x20 || c == 0x7F)
      text_format(text, "\\u%04x", c);
    else
      text_bytes(text, value, length);
    value += length ? length : 1;
    left -= length ? length : 1;
  }
  text_add(text, "\"");
}

// Digits that read back as the same number; JSON has no NaN and no infinity.
void text_real(struct text *text, double value) {
  if (!isfinite(value)) {
    text_add(text, "null");
    return;
  }
  char digits[40];
  for (int precision = 6; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, value);
    if (strtod(digits, NULL) == value) break;
  }
  text_add(text, digits);
}

void text_free(struct text *text) {
  free(text->data);
  *text = (struct text){0};
}

void emit(const char *event, const struct text *rest) {
  struct text line = {0};
  text_format(&line, "{\"event\": \"%s\"", event);
  if (rest != NULL && rest->length) {
    text_add(&line, ", ");
    text_bytes(&line, rest->data, rest->length);
  }
  text_add(&line, "}\n");
  for (size_t done = 0; done < line.length;) {
    ssize_t wrote = write(STDOUT_FILENO, line.data + done, line.length - done);
    if (wrote < 0 && errno != EINTR) _exit(1);  // nobody reads any more
    if (wrote > 0) done += (size_t)wrote;
  }
  text_free(&line);
}

_Noreturn void fail(enum status status, const char *code, const char *hint, const char *format,
                    ...) {
  struct text message = {0}, rest = {0};
  va_list values;
  va_start(values, format);
  text_formatted(&message, format, values);
  va_end(values);
  text_add(&rest, "\"code\": ");
  text_json(&rest, code);
  text_add(&rest, ", \"message\": ");
  text_json(&rest, message.data);
  text_add(&rest, ", \"hint\": ");
  text_json(&rest, hint);
  if (in_stream) text_format(&rest, ", \"status\": %d", (int)status);
  else if (at_failure) at_failure();
  emit("error", &rest);
  _exit((int)status);
}

int64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
