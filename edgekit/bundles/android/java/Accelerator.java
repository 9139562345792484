package edgekit.model;

/** What computes a model. */
public enum Accelerator {
    CPU,
    GPU,
    NPU
}
