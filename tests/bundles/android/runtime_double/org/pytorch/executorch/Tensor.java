package org.pytorch.executorch;

public class Tensor {
    private final Object data;
    private final long[] shape;
    private final boolean unsigned;

    private Tensor(Object data, long[] shape, boolean unsigned) {
        this.data = data;
        this.shape = shape;
        this.unsigned = unsigned;
    }

    public static Tensor fromBlobUnsigned(byte[] data, long[] shape) {
        return new Tensor(data, shape, true);
    }

    public static Tensor fromBlob(byte[] data, long[] shape) {
        return new Tensor(data, shape, false);
    }

    public static Tensor fromBlob(int[] data, long[] shape) {
        return new Tensor(data, shape, false);
    }

    public static Tensor fromBlob(long[] data, long[] shape) {
        return new Tensor(data, shape, false);
    }

    public static Tensor fromBlob(float[] data, long[] shape) {
        return new Tensor(data, shape, false);
    }

    public long[] shape() {
        return shape.clone();
    }

    public byte[] getDataAsByteArray() {
        return bytes(false);
    }

    public byte[] getDataAsUnsignedByteArray() {
        return bytes(true);
    }

    private byte[] bytes(boolean wanted) {
        if (unsigned != wanted) {
            throw new IllegalStateException("not of that type");
        }
        return (byte[]) data;
    }

    public int[] getDataAsIntArray() {
        return (int[]) data;
    }

    public long[] getDataAsLongArray() {
        return (long[]) data;
    }

    public float[] getDataAsFloatArray() {
        return (float[]) data;
    }
}
