package com.google.ai.edge.litert;

public abstract class JniHandle implements AutoCloseable {
    JniHandle() {}

    @Override
    public final void close() {
        throw new UnsupportedOperationException("a stub");
    }
}
