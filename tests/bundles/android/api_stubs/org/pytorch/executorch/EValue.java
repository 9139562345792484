package org.pytorch.executorch;

public class EValue {
    EValue() {}

    public static EValue from(Tensor tensor) {
        throw new UnsupportedOperationException("a stub");
    }

    public Tensor toTensor() {
        throw new UnsupportedOperationException("a stub");
    }
}
