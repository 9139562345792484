package dev.edgekit.demo.core;

import edgekit.model.Label;
import edgekit.model.Picture;
import edgekit.model.Steps;
import java.util.List;

/** A variant that classifies pictures, open in a runtime. */
public final class Classifier {
    private final Variant variant;
    private final Engine engine;
    private final int scores;
    /** Nanoseconds of the last picture's preparation and of its inference. */
    public long prepareNs;

    public long runNs;

    public Classifier(Variant variant, Engine engine) throws Failure {
        this.variant = variant;
        this.engine = engine;
        if (!variant.classifies()) {
            throw Failure.refused("'" + variant.name + "' does not classify pictures");
        }
        String wanted = variant.outputs.get(variant.scores()).getName();
        scores = named(engine.outputs(), wanted);
    }

    private static int named(List<TensorInfo> tensors, String name) throws Failure {
        for (int i = 0; i < tensors.size(); i++) {
            TensorInfo each = tensors.get(i);
            if (each.name.equals(name) || each.tensor.equals(name) || tensors.size() == 1) {
                return i;
            }
        }
        throw Failure.refused("the model has no output '" + name + "', which the manifest names");
    }

    /** The likeliest classes, best first. The picture is prepared as when the model was verified. */
    public List<Label> classify(Picture picture, int count) throws Failure {
        try {
            long began = System.nanoTime();
            Object input =
                    Steps.input(
                            variant.inputs.get(0), Steps.apply(variant.operations, picture.tensor()));
            long prepared = System.nanoTime();
            engine.setInput(0, input);
            engine.run();
            runNs = System.nanoTime() - prepared;
            prepareNs = prepared - began;
            return Steps.top(
                    variant.outputs.get(variant.scores()),
                    engine.output(scores),
                    variant.labels,
                    count);
        } catch (Failure failure) {
            throw failure;
        } catch (IllegalArgumentException | ClassCastException | NullPointerException e) {
            // The manifest's steps may be of any kind.
            throw Failure.badInputs("the picture does not fit the model: " + Failure.words(e));
        } catch (Exception e) {
            throw Failure.runFailed(e);
        }
    }
}
