package com.google.ai.edge.litert;

public abstract class JniHandle implements AutoCloseable {
    /** How many are there that were not closed. */
    public static int open;

    private boolean closed;

    JniHandle() {
        open++;
    }

    void assertNotDestroyed() {
        if (closed) {
            throw new IllegalStateException("The handle has been destroyed.");
        }
    }

    @Override
    public final void close() {
        open -= closed ? 0 : 1;
        closed = true;
    }
}
