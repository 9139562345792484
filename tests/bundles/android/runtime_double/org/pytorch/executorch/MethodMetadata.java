package org.pytorch.executorch;

public class MethodMetadata {
    private final String[] backends;

    MethodMetadata(String[] backends) {
        this.backends = backends;
    }

    public String[] getBackends() {
        return backends;
    }
}
