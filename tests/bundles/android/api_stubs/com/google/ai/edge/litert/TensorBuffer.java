package com.google.ai.edge.litert;

public final class TensorBuffer extends JniHandle {
    TensorBuffer() {}

    public void writeInt(int[] data) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public void writeFloat(float[] data) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public void writeInt8(byte[] data) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public void writeBoolean(boolean[] data) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public void writeLong(long[] data) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public int[] readInt() throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public float[] readFloat() throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public byte[] readInt8() throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public boolean[] readBoolean() throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public long[] readLong() throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }
}
