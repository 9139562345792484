package dev.edgekit.demo.core;

import java.util.List;

/** A model in a runtime. Inputs and outputs stand in the order of the file's main graph. */
public interface Engine {
    List<TensorInfo> inputs();

    List<TensorInfo> outputs();

    /** An array of the input's type: float[], byte[], short[], int[], long[] or boolean[]. */
    void setInput(int index, Object array) throws Exception;

    /** One inference; the runtime's own call and as little as can be beside it. */
    void run() throws Exception;

    /** An array of the output's type. */
    Object output(int index) throws Exception;

    /** Bytes that the runtime has planned for the model's tensors; null where that is not known. */
    Long arenaBytes();

    /** What has been applied, in the runtime's words: "CPU", "GPU", names of backends. */
    String applied();

    void close();
}
