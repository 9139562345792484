package org.pytorch.executorch;

public class MethodMetadata {
    MethodMetadata() {}

    public String[] getBackends() {
        throw new UnsupportedOperationException("a stub");
    }
}
