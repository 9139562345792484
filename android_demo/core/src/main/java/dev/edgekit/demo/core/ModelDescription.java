package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Inputs and outputs as the model's file tells them; runtimes on Android do not tell all of it. */
public final class ModelDescription {
    public final List<TensorInfo> inputs;
    public final List<TensorInfo> outputs;
    /** The name of the signature whose names are used; empty where the file has none or several. */
    public final String signature;
    /** Bytes planned for tensors, where the file says so; null otherwise. */
    public final Long arenaBytes;

    ModelDescription(
            List<TensorInfo> inputs, List<TensorInfo> outputs, String signature, Long arenaBytes) {
        this.inputs = Collections.unmodifiableList(inputs);
        this.outputs = Collections.unmodifiableList(outputs);
        this.signature = signature;
        this.arenaBytes = arenaBytes;
    }

    /** With these names, where they are not null. */
    ModelDescription named(List<String> inputNames, List<String> outputNames) throws Failure {
        return new ModelDescription(
                named("inputs", inputs, inputNames),
                named("outputs", outputs, outputNames),
                signature,
                arenaBytes);
    }

    private static List<TensorInfo> named(String side, List<TensorInfo> tensors, List<String> names)
            throws Failure {
        if (names == null) {
            return tensors;
        }
        if (names.size() != tensors.size()) {
            throw Failure.badJob(
                    names.size() + " " + side + " are named, the model has " + tensors.size());
        }
        List<TensorInfo> made = new ArrayList<>();
        for (int i = 0; i < names.size(); i++) {
            made.add(tensors.get(i).named(names.get(i)));
        }
        return made;
    }

    /** Reads the file. Throws Failure where it is damaged or has what no runtime here takes. */
    public static ModelDescription of(String path, ModelKind kind) throws Failure {
        try {
            FlatBuffer file = FlatBuffer.map(path);
            return kind == ModelKind.TFLITE ? TfliteFile.read(file) : PteFile.read(file);
        } catch (IndexOutOfBoundsException e) {
            throw Failure.refused("'" + path + "' is damaged: an offset leaves the file");
        } catch (java.io.IOException e) {
            throw Failure.refused("cannot read '" + path + "': " + Failure.words(e));
        }
    }
}
