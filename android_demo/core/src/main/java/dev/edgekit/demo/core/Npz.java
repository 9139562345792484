package dev.edgekit.demo.core;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

/**
 * numpy's arrays, in and out.
 *
 * <p>https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
final class Npz {
    /** Of one array, unpacked: an app's heap holds no more. */
    private static final int MOST_BYTES = 1 << 28;

    private static final Pattern HEADER =
            Pattern.compile(
                    "\\{'descr': '([^']*)', 'fortran_order': (True|False),"
                            + " 'shape': \\(([0-9, ]*)\\), \\}\\s*");

    /** An array; the bytes are little-endian, the last axis running fastest. */
    static final class Array {
        final DType dtype;
        final int[] shape;
        final byte[] data;

        Array(DType dtype, int[] shape, byte[] data) {
            this.dtype = dtype;
            this.shape = shape;
            this.data = data;
        }

        int rows() {
            return shape.length == 0 ? 0 : shape[0];
        }

        /** The shape without the first axis. */
        int[] row() {
            int[] row = new int[Math.max(0, shape.length - 1)];
            System.arraycopy(shape, shape.length - row.length, row, 0, row.length);
            return row;
        }
    }

    private Npz() {}

    static Map<String, Array> read(String path) throws Failure {
        Map<String, Array> found = new LinkedHashMap<>();
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(path))) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                String name = entry.getName();
                if (!name.endsWith(".npy")) {
                    throw new IOException(name + " is no array");
                }
                found.put(name.substring(0, name.length() - 4), array(new DataInputStream(zip)));
            }
        } catch (IOException | IllegalArgumentException e) {
            throw Failure.badInputs(
                    "cannot read the inputs '" + path + "': " + Failure.words(e));
        }
        return found;
    }

    private static Array array(DataInputStream in) throws IOException {
        byte[] magic = new byte[8];
        in.readFully(magic);
        if ((magic[0] & 0xFF) != 0x93 || !new String(magic, 1, 5, "US-ASCII").equals("NUMPY")) {
            throw new IOException("no array of numpy");
        }
        int length = in.readUnsignedByte() | in.readUnsignedByte() << 8;
        if (magic[6] > 1) {
            length |= in.readUnsignedByte() << 16 | in.readUnsignedByte() << 24;
        }
        if (length < 0 || length > 1 << 16) {
            throw new IOException("an array's header is too long");
        }
        byte[] header = new byte[length];
        in.readFully(header);
        Matcher match = HEADER.matcher(new String(header, "US-ASCII"));
        DType dtype = match.matches() ? DType.ofDescr(match.group(1)) : null;
        if (dtype == null || match.group(2).equals("True")) {
            throw new IOException("an array is of another kind than is read here");
        }
        String[] sizes = match.group(3).trim().isEmpty() ? new String[0] : match.group(3).split(",");
        int[] shape = new int[sizes.length];
        long bytes = dtype.size;
        for (int i = 0; i < shape.length; i++) {
            shape[i] = Integer.parseInt(sizes[i].trim());
            bytes *= shape[i];
            if (bytes > MOST_BYTES) {
                throw new IOException("an array is larger than " + MOST_BYTES + " bytes");
            }
        }
        byte[] data = new byte[(int) bytes];
        in.readFully(data);
        if (in.read() >= 0) {
            throw new IOException("an array has more bytes than its header says");
        }
        return new Array(dtype, shape, data);
    }

    /** As numpy.savez writes it: not compressed. */
    static void write(String path, Map<String, Array> arrays) throws Failure {
        try (ZipOutputStream zip = new ZipOutputStream(new FileOutputStream(new File(path)))) {
            for (Map.Entry<String, Array> each : arrays.entrySet()) {
                byte[] header = header(each.getValue());
                byte[] data = each.getValue().data;
                CRC32 crc = new CRC32();
                crc.update(header);
                crc.update(data);
                ZipEntry entry = new ZipEntry(each.getKey() + ".npy");
                entry.setMethod(ZipEntry.STORED);
                entry.setSize((long) header.length + data.length);
                entry.setCrc(crc.getValue());
                zip.putNextEntry(entry);
                zip.write(header);
                zip.write(data);
                zip.closeEntry();
            }
        } catch (IOException e) {
            throw new Failure(
                    Failure.FAILED,
                    "cannot_write",
                    "cannot write the outputs: " + Failure.words(e));
        }
    }

    private static byte[] header(Array array) throws IOException {
        StringBuilder text = new StringBuilder();
        text.append("{'descr': '").append(array.dtype.descr);
        text.append("', 'fortran_order': False, 'shape': ").append(tuple(array.shape)).append(", }");
        while ((text.length() + 11) % 64 != 0) {
            text.append(' ');
        }
        text.append('\n');
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        made.write(0x93);
        made.write("NUMPY".getBytes("US-ASCII"));
        made.write(1);
        made.write(0);
        made.write(text.length() & 0xFF);
        made.write(text.length() >> 8);
        made.write(text.toString().getBytes("US-ASCII"));
        return made.toByteArray();
    }

    /** As Python writes a tuple: "(4,)". */
    static String tuple(int[] sizes) {
        StringBuilder text = new StringBuilder("(");
        for (int i = 0; i < sizes.length; i++) {
            text.append(i == 0 ? "" : " ").append(sizes[i]);
            text.append(i + 1 < sizes.length || sizes.length == 1 ? "," : "");
        }
        return text.append(")").toString();
    }
}
