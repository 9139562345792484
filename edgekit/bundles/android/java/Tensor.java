package edgekit.model;

import java.util.Arrays;

/**
 * Numbers of one type with a shape, the last axis running fastest.
 *
 * <p>UINT8 and INT8 are kept in a {@code byte[]}, INT16 in a {@code short[]}, INT32 in an {@code
 * int[]}, INT64 in a {@code long[]}, FLOAT32 in a {@code float[]}, BOOL in a {@code boolean[]}. The
 * array is the one that was given, not a copy.
 */
public final class Tensor {
    /** What a number is. */
    public enum Type {
        UINT8,
        INT8,
        INT16,
        INT32,
        INT64,
        FLOAT32,
        BOOL
    }

    final Type type;
    final int[] shape;
    final Object data;
    /** Whether a layout step has moved the channels to the front. */
    final boolean channelsFirst;

    Tensor(Type type, Object data, int[] shape, boolean channelsFirst) {
        int length = java.lang.reflect.Array.getLength(data);
        if (length != count(shape)) {
            throw new IllegalArgumentException(length + " numbers for the shape " + sizes(shape));
        }
        this.type = type;
        this.data = data;
        this.shape = shape.clone();
        this.channelsFirst = channelsFirst;
    }

    public static Tensor of(float[] values, int... shape) {
        return new Tensor(Type.FLOAT32, values, shape, false);
    }

    public static Tensor of(int[] values, int... shape) {
        return new Tensor(Type.INT32, values, shape, false);
    }

    public static Tensor of(long[] values, int... shape) {
        return new Tensor(Type.INT64, values, shape, false);
    }

    public static Tensor of(short[] values, int... shape) {
        return new Tensor(Type.INT16, values, shape, false);
    }

    public static Tensor of(boolean[] values, int... shape) {
        return new Tensor(Type.BOOL, values, shape, false);
    }

    /** Numbers from -128 to 127. */
    public static Tensor ofInt8(byte[] values, int... shape) {
        return new Tensor(Type.INT8, values, shape, false);
    }

    /** Numbers from 0 to 255, in Java's signed bytes: 255 is (byte) 255, which is -1. */
    public static Tensor ofUint8(byte[] values, int... shape) {
        return new Tensor(Type.UINT8, values, shape, false);
    }

    /** All zeros. */
    static Tensor zeros(Type type, int[] shape) {
        int count = count(shape);
        switch (type) {
            case UINT8:
            case INT8:
                return new Tensor(type, new byte[count], shape, false);
            case INT16:
                return new Tensor(type, new short[count], shape, false);
            case INT32:
                return new Tensor(type, new int[count], shape, false);
            case INT64:
                return new Tensor(type, new long[count], shape, false);
            case BOOL:
                return new Tensor(type, new boolean[count], shape, false);
            default:
                return new Tensor(type, new float[count], shape, false);
        }
    }

    public Type getType() {
        return type;
    }

    public int[] getShape() {
        return shape.clone();
    }

    public float[] floats() {
        return (float[]) held(Type.FLOAT32);
    }

    public int[] ints() {
        return (int[]) held(Type.INT32);
    }

    public long[] longs() {
        return (long[]) held(Type.INT64);
    }

    public short[] shorts() {
        return (short[]) held(Type.INT16);
    }

    public boolean[] booleans() {
        return (boolean[]) held(Type.BOOL);
    }

    /** Of UINT8 and of INT8. */
    public byte[] bytes() {
        return (byte[]) held(type == Type.UINT8 ? Type.UINT8 : Type.INT8);
    }

    private Object held(Type wanted) {
        if (type != wanted) {
            throw new IllegalStateException("a tensor of " + type + " is not one of " + wanted);
        }
        return data;
    }

    /** The whole number at a place; of integer types. */
    long whole(int index) {
        switch (type) {
            case UINT8:
                return ((byte[]) data)[index] & 0xFF;
            case INT8:
                return ((byte[]) data)[index];
            case INT16:
                return ((short[]) data)[index];
            case INT32:
                return ((int[]) data)[index];
            case INT64:
                return ((long[]) data)[index];
            default:
                throw new IllegalStateException("a tensor of " + type + " has no whole numbers");
        }
    }

    /** The number at a place as FLOAT32, the nearest one. */
    float real(int index) {
        return type == Type.FLOAT32 ? ((float[]) data)[index] : (float) whole(index);
    }

    int count() {
        return count(shape);
    }

    static int count(int[] shape) {
        long count = 1;
        for (int size : shape) {
            if (size < 0) {
                throw new IllegalArgumentException("a shape with " + size + " in it");
            }
            count *= size;
            if (count > Integer.MAX_VALUE) {
                throw new IllegalArgumentException("more numbers than an array holds");
            }
        }
        return (int) count;
    }

    static String sizes(int[] shape) {
        if (shape.length == 0) {
            return "scalar";
        }
        StringBuilder text = new StringBuilder();
        for (int size : shape) {
            text.append(text.length() == 0 ? "" : "x").append(size);
        }
        return text.toString();
    }

    @Override
    public String toString() {
        return type + " " + sizes(shape);
    }

    @Override
    public boolean equals(Object other) {
        if (!(other instanceof Tensor)) {
            return false;
        }
        Tensor that = (Tensor) other;
        return type == that.type
                && Arrays.equals(shape, that.shape)
                && Arrays.deepEquals(new Object[] {data}, new Object[] {that.data});
    }

    @Override
    public int hashCode() {
        return 31 * type.hashCode() + Arrays.deepHashCode(new Object[] {data});
    }
}
