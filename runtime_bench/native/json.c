// A strict reader of JSON (RFC 8259): UTF-8 only, no repeated key, no zero byte in a text, and at
// most 64 levels deep. What is read lives until the program ends.

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define DEEPEST 64

struct reader {
  const char *at, *end;
  const char *why;
  int depth;
};

static bool value(struct reader *in, struct json *out);

static bool wrong(struct reader *in, const char *why) {
  if (in->why == NULL) in->why = why;
  return false;
}

static void space(struct reader *in) {
  while (in->at < in->end && strchr(" \t\n\r", *in->at) && *in->at) in->at++;
}

static bool word(struct reader *in, const char *text) {
  size_t length = strlen(text);
  if ((size_t)(in->end - in->at) < length || memcmp(in->at, text, length) != 0) return false;
  in->at += length;
  return true;
}

static bool digits(struct reader *in) {
  const char *start = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  return in->at > start;
}

static bool number(struct reader *in, struct json *out) {
  const char *start = in->at;
  bool whole = true;
  word(in, "-");
  if (!word(in, "0") && !digits(in)) return wrong(in, "no JSON value where one is due");
  if (word(in, ".")) {
    whole = false;
    if (!digits(in)) return wrong(in, "no digit after a decimal point");
  }
  if (word(in, "e") || word(in, "E")) {
    whole = false;
    if (!word(in, "+")) word(in, "-");
    if (!digits(in)) return wrong(in, "no digit in an exponent");
  }
  struct text copy = {0};
  text_bytes(&copy, start, (size_t)(in->at - start));
  out->kind = JSON_REAL;
  out->real = strtod(copy.data, NULL);
  if (whole) {
    errno = 0;
    long long read = strtoll(copy.data, NULL, 10);
    if (errno == 0) {
      out->kind = JSON_WHOLE;
      out->whole = read;
    }
  }
  text_free(&copy);
  return true;
}

static bool hex4(struct reader *in, unsigned *code) {
  *code = 0;
  for (int i = 0; i < 4; i++) {
    if (in->at >= in->end) return wrong(in, "an escape is cut off");
    char c = *in->at++;
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                            : 16;
    if (digit > 15) return wrong(in, "\\u without four hex digits");
    *code = *code * 16 + digit;
  }
  return true;
}

static bool escape(struct reader *in, struct text *to) {
  if (in->at >= in->end) return wrong(in, "an escape is cut off");
  static const char from[] = "\"\\/bfnrt", what[] = "\"\\/\b\f\n\r\t";
  char c = *in->at++;
  const char *found = c ? strchr(from, c) : NULL;
  if (found) {
    text_bytes(to, &what[found - from], 1);
    return true;
  }
  if (c != 'u') return wrong(in, "an unknown escape");
  unsigned code, low;
  if (!hex4(in, &code)) return false;
  if (code >= 0xD800 && code <= 0xDBFF) {
    if (!word(in, "\\u") || !hex4(in, &low) || low < 0xDC00 || low > 0xDFFF)
      return wrong(in, "half a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code <= 0xDFFF) {
    return wrong(in, "half a surrogate pair");
  }
  if (code == 0) return wrong(in, "a zero character in a text");
  unsigned char utf8[4];
  size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char mark[] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = length - 1; i > 0; i--, code >>= 6) utf8[i] = (unsigned char)(0x80 | (code & 63));
  utf8[0] = (unsigned char)(mark[length] | code);
  text_bytes(to, utf8, length);
  return true;
}

static bool string(struct reader *in, char **out) {
  struct text made = {0};
  text_add(&made, "");
  while (true) {
    if (in->at >= in->end) return wrong(in, "a text without its closing quote");
    unsigned char c = (unsigned char)*in->at;
    if (c == '"') break;
    if (c < 0x20) return wrong(in, "a control character in a text");
    if (c == '\\') {
      in->at++;
      if (!escape(in, &made)) return false;
      continue;
    }
    size_t length = utf8_length(in->at, (size_t)(in->end - in->at));
    if (length == 0) return wrong(in, "bytes that are no UTF-8");
    text_bytes(&made, in->at, length);
    in->at += length;
  }
  in->at++;
  *out = made.data;
  return true;
}

static bool several(struct reader *in, struct json *out, bool object) {
  const char *close = object ? "}" : "]";
  out->kind = object ? JSON_OBJECT : JSON_LIST;
  space(in);
  if (word(in, close)) return true;
  while (true) {
    struct json item = {0};
    space(in);
    if (object) {
      if (!word(in, "\"")) return wrong(in, "a key that is no text");
      if (!string(in, &item.key)) return false;
      if (json_find(out, item.key)) return wrong(in, "a key that is there twice");
      space(in);
      if (!word(in, ":")) return wrong(in, "no colon after a key");
    }
    if (!value(in, &item)) return false;
    out->items = need_memory(out->items, out->count + 1, sizeof item);
    out->items[out->count++] = item;
    space(in);
    if (word(in, close)) return true;
    if (!word(in, ",")) return wrong(in, "no comma between two values");
  }
}

static bool value(struct reader *in, struct json *out) {
  space(in);
  if (++in->depth > DEEPEST) return wrong(in, "nested too deep");
  bool good = true;
  if (word(in, "null")) {
    out->kind = JSON_NULL;
  } else if (word(in, "true") || word(in, "false")) {
    out->kind = JSON_BOOL;
    out->truth = in->at[-2] == 'u';
  } else if (word(in, "\"")) {
    out->kind = JSON_TEXT;
    good = string(in, &out->text);
  } else if (word(in, "{")) {
    good = several(in, out, true);
  } else if (word(in, "[")) {
    good = several(in, out, false);
  } else {
    good = number(in, out);
  }
  if (out->kind == JSON_WHOLE) out->real = (double)out->whole;
  in->depth--;
  return good;
}

struct json *json_read(const char *data, size_t length, const char **why) {
  struct reader in = {.at = data, .end = data + length};
  struct json *out = memset(need_memory(NULL, 1, sizeof *out), 0, sizeof *out);
  if (value(&in, out)) {
    space(&in);
    if (in.at == in.end) return out;
    wrong(&in, "more after the end of the JSON value");
  }
  *why = in.why;
  return NULL;
}

const struct json *json_find(const struct json *object, const char *key) {
  for (size_t i = 0; i < object->count; i++)
    if (object->items[i].key && strcmp(object->items[i].key, key) == 0) return &object->items[i];
  return NULL;
}

void json_write(struct text *to, const struct json *value) {
  bool object = value->kind == JSON_OBJECT;
  switch (value->kind) {
    case JSON_NULL: text_add(to, "null"); break;
    case JSON_BOOL: text_add(to, value->truth ? "true" : "false"); break;
    case JSON_WHOLE: text_format(to, "%lld", (long long)value->whole); break;
    case JSON_REAL:
      if (isfinite(value->real)) text_real(to, value->real);
      else text_add(to, value->real > 0 ? "infinity" : "-infinity");
      break;
    case JSON_TEXT: text_json(to, value->text); break;
    case JSON_LIST:
    case JSON_OBJECT:
      text_add(to, object ? "{" : "[");
      for (size_t i = 0; i < value->count; i++) {
        if (i) text_add(to, ", ");
        if (object) {
          text_json(to, value->items[i].key);
          text_add(to, ": ");
        }
        json_write(to, &value->items[i]);
      }
      text_add(to, object ? "}" : "]");
  }
}
