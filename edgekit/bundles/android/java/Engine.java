package edgekit.model;

import java.util.List;

/** A runtime with the model in it. */
interface Engine extends AutoCloseable {
    /** One tensor an output, in the manifest's order, of inputs in the manifest's order. */
    List<Tensor> run(List<Tensor> inputs);

    Report report();

    @Override
    void close();
}
