package dev.edgekit.demo.core;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

/**
 * Reads a flatbuffer by field numbers. Offsets come from anybody: one that leaves the file throws
 * IndexOutOfBoundsException. 0 stands for what is not there.
 *
 * <p>https://flatbuffers.dev/internals/
 */
final class FlatBuffer {
    /** More than any list of tensors or operators has; what is larger is damage. */
    private static final int MOST = 1 << 22;

    private final ByteBuffer data;

    private FlatBuffer(ByteBuffer data) {
        this.data = data.order(ByteOrder.LITTLE_ENDIAN);
    }

    static FlatBuffer map(String path) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(path, "r")) {
            long size = Math.min(file.length(), Integer.MAX_VALUE);
            MappedByteBuffer mapped = file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, size);
            return new FlatBuffer(mapped);
        }
    }

    int root() {
        return at(0);
    }

    /** Where the offset at a place leads. */
    private int at(int place) {
        int offset = data.getInt(place);
        long to = (long) place + (offset & 0xFFFFFFFFL);
        if (offset == 0 || to >= data.limit()) {
            throw new IndexOutOfBoundsException();
        }
        return (int) to;
    }

    /** Where a table's field lies; 0 where it is not there. */
    int field(int table, int number) {
        int vtable = table - data.getInt(table);
        int size = data.getShort(vtable) & 0xFFFF;
        int entry = 4 + 2 * number;
        if (entry + 2 > size) {
            return 0;
        }
        int offset = data.getShort(vtable + entry) & 0xFFFF;
        return offset == 0 ? 0 : table + offset;
    }

    /** The table, text or vector that a field points to; 0 where it is not there. */
    int pointed(int table, int number) {
        int place = field(table, number);
        return place == 0 ? 0 : at(place);
    }

    int number(int table, int number, int otherwise) {
        int place = field(table, number);
        return place == 0 ? otherwise : data.getInt(place);
    }

    int small(int table, int number, int otherwise) {
        int place = field(table, number);
        return place == 0 ? otherwise : data.get(place) & 0xFF;
    }

    int length(int vector) {
        int count = vector == 0 ? 0 : data.getInt(vector);
        if (count < 0 || count > MOST) {
            throw new IndexOutOfBoundsException();
        }
        return count;
    }

    /** The table at a place of a vector of tables. */
    int table(int vector, int index) {
        if (index < 0 || index >= length(vector)) {
            throw new IndexOutOfBoundsException();
        }
        return at(vector + 4 + 4 * index);
    }

    int[] ints(int vector) {
        int[] found = new int[length(vector)];
        for (int i = 0; i < found.length; i++) {
            found[i] = data.getInt(vector + 4 + 4 * i);
        }
        return found;
    }

    double[] floats(int vector) {
        double[] found = new double[length(vector)];
        for (int i = 0; i < found.length; i++) {
            found[i] = data.getFloat(vector + 4 + 4 * i);
        }
        return found;
    }

    long[] longs(int vector) {
        long[] found = new long[length(vector)];
        for (int i = 0; i < found.length; i++) {
            found[i] = data.getLong(vector + 4 + 8 * i);
        }
        return found;
    }

    String text(int place) {
        byte[] bytes = new byte[length(place)];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = data.get(place + 4 + i);
        }
        return new String(bytes, Json.UTF_8);
    }
}
