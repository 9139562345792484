package dev.edgekit.demo.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What a number is: numpy's name, its code in .npy files, bytes, and Java's array of them. */
public enum DType {
    FLOAT32("float32", "<f4", 4, true),
    UINT8("uint8", "|u1", 1, true),
    INT8("int8", "|i1", 1, true),
    INT16("int16", "<i2", 2, true),
    INT32("int32", "<i4", 4, true),
    INT64("int64", "<i8", 8, true),
    BOOL("bool", "|b1", 1, true),
    // Known, so that an error can name them; Android's runtimes have no arrays of them.
    FLOAT16("float16", "<f2", 2, false),
    FLOAT64("float64", "<f8", 8, false),
    UINT16("uint16", "<u2", 2, false),
    UINT32("uint32", "<u4", 4, false),
    UINT64("uint64", "<u8", 8, false);

    public final String name;
    final String descr;
    public final int size;
    final boolean held;

    DType(String name, String descr, int size, boolean held) {
        this.name = name;
        this.descr = descr;
        this.size = size;
        this.held = held;
    }

    /** Null where none is called so. */
    static DType named(String name) {
        for (DType each : values()) {
            if (each.name.equals(name)) {
                return each;
            }
        }
        return null;
    }

    static DType ofDescr(String descr) {
        for (DType each : values()) {
            if (each.descr.equals(descr)) {
                return each;
            }
        }
        return null;
    }

    boolean isFloat() {
        return this == FLOAT32;
    }

    /** A float[], byte[], short[], int[], long[] or boolean[] of little-endian bytes. */
    public Object array(byte[] data) {
        ByteBuffer bytes = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
        int count = data.length / size;
        switch (this) {
            case FLOAT32:
                float[] floats = new float[count];
                bytes.asFloatBuffer().get(floats);
                return floats;
            case UINT8:
            case INT8:
                return data.clone();
            case INT16:
                short[] shorts = new short[count];
                bytes.asShortBuffer().get(shorts);
                return shorts;
            case INT32:
                int[] ints = new int[count];
                bytes.asIntBuffer().get(ints);
                return ints;
            case INT64:
                long[] longs = new long[count];
                bytes.asLongBuffer().get(longs);
                return longs;
            case BOOL:
                boolean[] truths = new boolean[count];
                for (int i = 0; i < count; i++) {
                    truths[i] = data[i] != 0;
                }
                return truths;
            default:
                throw new IllegalStateException("no arrays of " + name);
        }
    }

    /** The inverse of {@link #array}. */
    public byte[] bytes(Object array) {
        int count = java.lang.reflect.Array.getLength(array);
        ByteBuffer bytes = ByteBuffer.allocate(count * size).order(ByteOrder.LITTLE_ENDIAN);
        switch (this) {
            case FLOAT32:
                bytes.asFloatBuffer().put((float[]) array);
                break;
            case UINT8:
            case INT8:
                bytes.put((byte[]) array);
                break;
            case INT16:
                bytes.asShortBuffer().put((short[]) array);
                break;
            case INT32:
                bytes.asIntBuffer().put((int[]) array);
                break;
            case INT64:
                bytes.asLongBuffer().put((long[]) array);
                break;
            case BOOL:
                for (boolean truth : (boolean[]) array) {
                    bytes.put((byte) (truth ? 1 : 0));
                }
                break;
            default:
                throw new IllegalStateException("no arrays of " + name);
        }
        return bytes.array();
    }
}
