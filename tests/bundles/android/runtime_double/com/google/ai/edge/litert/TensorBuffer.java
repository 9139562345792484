package com.google.ai.edge.litert;

import java.lang.reflect.Array;

public final class TensorBuffer extends JniHandle {
    final String name;
    final String type;
    Object data;

    TensorBuffer(String name, String type, Object data) {
        this.name = name;
        this.type = type;
        this.data = data;
    }

    private void write(Object values) throws LiteRtException {
        assertNotDestroyed();
        if (values.getClass() != data.getClass()
                || Array.getLength(values) != Array.getLength(data)) {
            throw new LiteRtException(1, "not " + type + ": " + name);
        }
        System.arraycopy(values, 0, data, 0, Array.getLength(data));
    }

    private Object read(Class<?> wanted) throws LiteRtException {
        assertNotDestroyed();
        if (wanted != data.getClass()) {
            throw new LiteRtException(1, "not " + type + ": " + name);
        }
        return data;
    }

    public void writeInt(int[] values) throws LiteRtException {
        write(values);
    }

    public void writeFloat(float[] values) throws LiteRtException {
        write(values);
    }

    public void writeInt8(byte[] values) throws LiteRtException {
        write(values);
    }

    public void writeBoolean(boolean[] values) throws LiteRtException {
        write(values);
    }

    public void writeLong(long[] values) throws LiteRtException {
        write(values);
    }

    public int[] readInt() throws LiteRtException {
        return ((int[]) read(int[].class)).clone();
    }

    public float[] readFloat() throws LiteRtException {
        return ((float[]) read(float[].class)).clone();
    }

    public byte[] readInt8() throws LiteRtException {
        return ((byte[]) read(byte[].class)).clone();
    }

    public boolean[] readBoolean() throws LiteRtException {
        return ((boolean[]) read(boolean[].class)).clone();
    }

    public long[] readLong() throws LiteRtException {
        return ((long[]) read(long[].class)).clone();
    }
}
