package org.pytorch.executorch;

public abstract class Tensor {
    Tensor() {}

    public static Tensor fromBlobUnsigned(byte[] data, long[] shape) {
        throw new UnsupportedOperationException("a stub");
    }

    public static Tensor fromBlob(byte[] data, long[] shape) {
        throw new UnsupportedOperationException("a stub");
    }

    public static Tensor fromBlob(int[] data, long[] shape) {
        throw new UnsupportedOperationException("a stub");
    }

    public static Tensor fromBlob(long[] data, long[] shape) {
        throw new UnsupportedOperationException("a stub");
    }

    public static Tensor fromBlob(float[] data, long[] shape) {
        throw new UnsupportedOperationException("a stub");
    }

    public long[] shape() {
        throw new UnsupportedOperationException("a stub");
    }

    public byte[] getDataAsByteArray() {
        throw new UnsupportedOperationException("a stub");
    }

    public byte[] getDataAsUnsignedByteArray() {
        throw new UnsupportedOperationException("a stub");
    }

    public int[] getDataAsIntArray() {
        throw new UnsupportedOperationException("a stub");
    }

    public long[] getDataAsLongArray() {
        throw new UnsupportedOperationException("a stub");
    }

    public float[] getDataAsFloatArray() {
        throw new UnsupportedOperationException("a stub");
    }
}
