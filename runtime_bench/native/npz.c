// Arrays in the form that numpy.savez writes: an uncompressed zip of .npy files. The reader takes
// exactly that, every length is checked against the file, and everything else is refused.
// Zip: PKWARE's APPNOTE 6.3. npy: numpy/lib/format.py.

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

static const struct dtype DTYPES[] = {
    {"float32", "<f4", 4, 'f'}, {"float16", "<f2", 2, 'f'}, {"float64", "<f8", 8, 'f'},
    {"int8", "|i1", 1, 'i'},    {"int16", "<i2", 2, 'i'},   {"int32", "<i4", 4, 'i'},
    {"int64", "<i8", 8, 'i'},   {"uint8", "|u1", 1, 'u'},   {"uint16", "<u2", 2, 'u'},
    {"uint32", "<u4", 4, 'u'},  {"uint64", "<u8", 8, 'u'},  {"bool", "|b1", 1, 'b'},
};
#define DTYPE_COUNT (sizeof DTYPES / sizeof *DTYPES)

const struct dtype *dtype_named(const char *name) {
  for (size_t i = 0; i < DTYPE_COUNT; i++)
    if (strcmp(DTYPES[i].name, name) == 0) return &DTYPES[i];
  return NULL;
}

static const char *reading;  // the path, for errors


__attribute__((format(printf, 1, 2))) static _Noreturn void refuse(const char *format, ...) {
  char why[300];
  va_list values;
  va_start(values, format);
  vsnprintf(why, sizeof why, format, values);
  va_end(values);
  fail(BAD_JOB, "bad_inputs", "", "cannot read the inputs '%s': %s", reading, why);
}

// CRC-32 of zip files: the polynomial 0xEDB88320, bits in reverse.
static uint32_t crc32(const char *data, size_t count) {
  static uint32_t table[256];
  if (table[1] == 0)
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
      table[i] = value;
    }
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < count; i++) crc = crc >> 8 ^ table[(crc ^ (unsigned char)data[i]) & 255];
  return ~crc;
}

static uint32_t two(const char *at) {
  return (unsigned char)at[0] | (uint32_t)(unsigned char)at[1] << 8;
}
static uint32_t four(const char *at) { return two(at) | two(at + 2) << 16; }

// --- reading

struct words {
  const char *at, *end;
};

static void blanks(struct words *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\n')) in->at++;
}

static bool take(struct words *in, const char *text) {
  size_t length = strlen(text);
  blanks(in);
  if ((size_t)(in->end - in->at) < length || memcmp(in->at, text, length) != 0) return false;
  in->at += length;
  return true;
}

static int64_t take_size(struct words *in, const char *name) {
  int64_t value = 0;
  blanks(in);
  const char *start = in->at;
  for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, *in->at - '0', &value))
      refuse("the shape of %s is too large", name);
  if (in->at == start) refuse("the shape of %s is no list of sizes", name);
  return value;
}

static void take_shape(struct words *in, struct array *array) {
  if (!take(in, "(")) refuse("the shape of %s is no tuple", array->name);
  while (!take(in, ")")) {
    if (array->rank == MOST_DIMENSIONS + 2) refuse("%s has too many dimensions", array->name);
    array->shape[array->rank++] = take_size(in, array->name);
    if (take(in, ",")) continue;
    if (!take(in, ")")) refuse("the shape of %s is no tuple", array->name);
    break;
  }
}

// The dict of a .npy's header: 'descr', 'fortran_order' and 'shape', each once.
static void read_header(struct words in, struct array *array) {
  bool order = false, shape = false, closed = false;
  if (!take(&in, "{")) refuse("the header of %s is no dict", array->name);
  while (!(closed = take(&in, "}"))) {
    if (array->dtype == NULL && take(&in, "'descr':")) {
      for (size_t i = 0; i < DTYPE_COUNT && !array->dtype; i++) {
        char quoted[8];
        snprintf(quoted, sizeof quoted, "'%s'", DTYPES[i].descr);
        if (take(&in, quoted)) array->dtype = &DTYPES[i];
      }
      if (array->dtype == NULL) refuse("%s has a type that is not taken", array->name);
    } else if (!order && take(&in, "'fortran_order':")) {
      if (!take(&in, "False")) refuse("%s is in Fortran's order", array->name);
      order = true;
    } else if (!shape && take(&in, "'shape':")) {
      take_shape(&in, array);
      shape = true;
    } else {
      refuse("the header of %s has another key than descr, fortran_order and shape", array->name);
    }
    if (!take(&in, ",")) {
      closed = take(&in, "}");
      break;
    }
  }
  blanks(&in);
  if (!closed || in.at != in.end || !array->dtype || !order || !shape)
    refuse("the header of %s is not one of numpy's", array->name);
}

static void read_npy(const char *data, size_t count, struct array *array) {
  if (count < 12 || memcmp(data, "\x93NUMPY", 6) != 0) refuse("%s is no .npy", array->name);
  bool first = data[6] == 1;
  if ((data[6] != 1 && data[6] != 2) || data[7] != 0)
    refuse("%s has another version of .npy than 1 and 2", array->name);
  size_t start = first ? 10 : 12, length = first ? two(data + 8) : four(data + 8);
  if (length > count - start) refuse("the header of %s is cut off", array->name);
  read_header((struct words){data + start, data + start + length}, array);
  array->data = data + start + length;
  array->bytes = array->dtype->size;
  for (int i = 0; i < array->rank; i++)
    if (__builtin_mul_overflow(array->bytes, (size_t)array->shape[i], &array->bytes))
      refuse("the shape of %s is too large", array->name);
  if (array->bytes != count - start - length)
    refuse("%s has %zu bytes, its shape wants %zu", array->name, count - start - length,
           array->bytes);
}

// One entry of the central directory at `at`, of which `left` bytes are there; its length.
static size_t read_entry(const char *file, size_t directory, const char *at, size_t left,
                         struct array *array) {
  if (left < 46 || memcmp(at, "PK\1\2", 4) != 0) refuse("its directory is cut off");
  size_t name = two(at + 28), whole = 46 + name + two(at + 30) + two(at + 32);
  if (whole > left) refuse("its directory is cut off");
  size_t size = four(at + 24), start = four(at + 42);
  if (name < 5 || name > 4096 || memcmp(at + 46 + name - 4, ".npy", 4) != 0 ||
      memchr(at + 46, 0, name))
    refuse("it holds something else than .npy files");
  struct text copy = {0};
  text_bytes(&copy, at + 46, name - 4);
  array->name = copy.data;
  if (two(at + 10) != 0) refuse("%s is compressed: numpy.savez writes what is taken", array->name);
  if (two(at + 8) & ~0x800u) refuse("%s is encrypted or streamed", array->name);
  if (four(at + 20) != size || size == 0xFFFFFFFFu || start == 0xFFFFFFFFu)
    refuse("the size of %s is not one of an uncompressed file below 4 GB", array->name);
  if (start > directory || directory - start < 30 || memcmp(file + start, "PK\3\4", 4) != 0)
    refuse("%s is not where the directory says", array->name);
  size_t head = 30 + two(file + start + 26) + two(file + start + 28);
  if (directory - start < head || directory - start - head < size)
    refuse("%s is cut off", array->name);
  if (two(file + start + 26) != name || memcmp(file + start + 30, at + 46, name) != 0)
    refuse("%s has another name in the directory", array->name);
  const char *data = file + start + head;
  if (crc32(data, size) != four(at + 16)) refuse("%s is damaged (CRC)", array->name);
  read_npy(data, size, array);
  return whole;
}

struct array *read_npz(const char *path, size_t *count) {
  size_t length;
  reading = path;
  const char *file = read_whole(path, SIZE_MAX / 4, &length);
  if (file == NULL) refuse("%s", strerror(errno));
  const char *end = file + length - 22;
  if (length < 22 || memcmp(end, "PK\5\6", 4) != 0 || two(end + 20) != 0)
    refuse("it is no zip that numpy.savez writes");
  size_t entries = two(end + 10), size = four(end + 12), directory = four(end + 16);
  if (two(end + 4) || two(end + 6) || two(end + 8) != entries || entries == 0xFFFF ||
      directory > length - 22 || size != length - 22 - directory)
    refuse("it is no zip that numpy.savez writes");
  struct array *arrays = need_memory(NULL, entries, sizeof *arrays);
  memset(arrays, 0, entries * sizeof *arrays);
  const char *at = file + directory;
  for (size_t i = 0; i < entries; i++) {
    at += read_entry(file, directory, at, (size_t)(end - at), &arrays[i]);
    for (size_t j = 0; j < i; j++)
      if (strcmp(arrays[j].name, arrays[i].name) == 0) refuse("%s is there twice", arrays[i].name);
  }
  if (at != end) refuse("there is something behind its directory");
  *count = entries;
  return arrays;
}

// --- writing

static void add_two(struct text *to, size_t value) {
  char bytes[2] = {(char)value, (char)(value >> 8)};
  text_bytes(to, bytes, 2);
}

static void add_four(struct text *to, uint64_t value) {
  add_two(to, value & 0xFFFF);
  add_two(to, value >> 16 & 0xFFFF);
}

static struct text npy_header(const struct array *array) {
  struct text dict = {0}, out = {0};
  text_format(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", array->dtype->descr);
  for (int i = 0; i < array->rank; i++)
    text_format(&dict, "%lld,%s", (long long)array->shape[i], i + 1 < array->rank ? " " : "");
  text_add(&dict, "), }");
  while ((10 + dict.length + 1) % 64) text_add(&dict, " ");
  text_add(&dict, "\n");
  text_bytes(&out, "\x93NUMPY\1\0", 8);
  add_two(&out, dict.length);
  text_bytes(&out, dict.data, dict.length);
  text_free(&dict);
  return out;
}

// What a local header and the directory have in common. The date is 1 January 1980.
static void add_common(struct text *to, uint32_t crc, size_t size, size_t name) {
  add_two(to, 20);
  add_two(to, 0x800);  // the name is UTF-8
  add_two(to, 0);
  add_two(to, 0);
  add_two(to, 0x21);
  add_four(to, crc);
  add_four(to, size);
  add_four(to, size);
  add_two(to, name);
  add_two(to, 0);
}

static _Noreturn void cannot_write(const char *why) {
  fail(FAILED, "cannot_write", "", "cannot write the outputs: %s", why);
}

void write_npz(const char *path, const struct array *arrays, size_t count) {
  FILE *file = fopen(path, "wbe");
  if (file == NULL) cannot_write(strerror(errno));
  struct text directory = {0};
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    const struct array *array = &arrays[i];
    struct text name = {0}, local = {0}, whole = npy_header(array);
    text_format(&name, "%s.npy", array->name);
    text_bytes(&whole, array->data, array->bytes);
    if (whole.length >= 0xFFFFFFFFu || name.length > 0xFFFF || at >= 0xFFFFFFFFu)
      cannot_write("they are larger than 4 GB");
    uint32_t crc = crc32(whole.data, whole.length);
    text_bytes(&local, "PK\3\4", 4);
    add_common(&local, crc, whole.length, name.length);
    text_bytes(&local, name.data, name.length);
    text_bytes(&directory, "PK\1\2", 4);
    add_two(&directory, 20);
    add_common(&directory, crc, whole.length, name.length);
    for (int field = 0; field < 3; field++) add_two(&directory, 0);  // comment, disk, attributes
    add_four(&directory, 0);
    add_four(&directory, at);
    text_bytes(&directory, name.data, name.length);
    if (fwrite(local.data, 1, local.length, file) != local.length ||
        fwrite(whole.data, 1, whole.length, file) != whole.length)
      cannot_write(strerror(errno));
    at += local.length + whole.length;
    text_free(&name);
    text_free(&local);
    text_free(&whole);
  }
  size_t size = directory.length;
  text_bytes(&directory, "PK\5\6\0\0\0\0", 8);
  add_two(&directory, count);
  add_two(&directory, count);
  add_four(&directory, size);
  if (at >= 0xFFFFFFFFu) cannot_write("they are larger than 4 GB");
  add_four(&directory, at);
  add_two(&directory, 0);
  bool good = fwrite(directory.data, 1, directory.length, file) == directory.length;
  if (fclose(file) != 0 || !good) cannot_write(strerror(errno));
  text_free(&directory);
}
