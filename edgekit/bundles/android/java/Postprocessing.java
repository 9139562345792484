package edgekit.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** What is made of a model's answers; plain Java. */
public final class Postprocessing {
    private Postprocessing() {}

    /** Real numbers: scale x (stored - zero point) in float32 where the output is quantized. */
    static float[] toReal(TensorSpec spec, Tensor stored) {
        if (stored.type == Tensor.Type.FLOAT32) {
            return stored.floats();
        }
        int count = stored.count();
        int inner = 1;
        for (int i = spec.axis + 1; spec.axis >= 0 && i < stored.shape.length; i++) {
            inner *= stored.shape[i];
        }
        float[] real = new float[count];
        for (int i = 0; i < count; i++) {
            int slice = spec.axis < 0 ? 0 : i / inner % stored.shape[spec.axis];
            int scaleAt = spec.scale.length == 1 ? 0 : slice;
            int zeroPoint = spec.zeroPoint[spec.zeroPoint.length == 1 ? 0 : slice];
            real[i] = (float) (stored.whole(i) - zeroPoint) * spec.scale[scaleAt];
        }
        return real;
    }

    /**
     * Probabilities that add up to one, of the scores (logits) of one sample.
     *
     * <p>Nothing here does this of itself: many models end in a softmax already, and a second one
     * would flatten their answers.
     */
    public static float[] softmax(float[] scores) {
        double largest = Double.NEGATIVE_INFINITY;
        for (float score : scores) {
            largest = Math.max(largest, score);
        }
        double sum = 0;
        double[] parts = new double[scores.length];
        for (int i = 0; i < scores.length; i++) {
            parts[i] = Math.exp(scores[i] - largest);
            sum += parts[i];
        }
        float[] made = new float[scores.length];
        for (int i = 0; i < scores.length; i++) {
            made[i] = (float) (parts[i] / sum);
        }
        return made;
    }

    /** The classes with the highest scores, best first; of equal ones that of lower index. */
    static List<Label> top(float[] scores, List<String> labels, int count) {
        List<Label> all = new ArrayList<>();
        for (int i = 0; i < scores.length; i++) {
            all.add(new Label(i, labels.size() == scores.length ? labels.get(i) : "", scores[i]));
        }
        Collections.sort(all);
        return Collections.unmodifiableList(
                new ArrayList<>(all.subList(0, Math.min(Math.max(count, 0), all.size()))));
    }
}
