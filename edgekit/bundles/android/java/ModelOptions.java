package edgekit.model;

import java.io.File;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** How a model is opened; what is not set is as it was when the model was verified. */
public final class ModelOptions {
    private int threads;
    private int warmUp = 1;
    private boolean checkHash = true;
    private File folder;
    private List<Accelerator> preferred = Collections.emptyList();

    /** Threads on the CPU; 0, as it is at first, leaves their number to the runtime. */
    public ModelOptions threads(int count) {
        if (count < 0) {
            throw new IllegalArgumentException(count + " threads");
        }
        threads = count;
        return this;
    }

    /**
     * Accelerators in the order in which they are tried, until one takes the whole model.
     *
     * <p>Only with a .tflite; the delegate of a .pte was chosen when it was made. The model was
     * verified on the accelerator that its class names: another one computes in another precision.
     */
    public ModelOptions prefer(Accelerator... inOrder) {
        if (inOrder.length == 0) {
            throw new IllegalArgumentException("prefer() needs an accelerator");
        }
        preferred = Collections.unmodifiableList(Arrays.asList(inOrder.clone()));
        return this;
    }

    /** How often zeros are computed while it opens, so that the first answer does not take longer. */
    public ModelOptions warmUp(int runs) {
        if (runs < 0) {
            throw new IllegalArgumentException(runs + " runs");
        }
        warmUp = runs;
        return this;
    }

    /** Whether the file's SHA-256 is compared with that of the file that was verified. */
    public ModelOptions checkHash(boolean check) {
        checkHash = check;
        return this;
    }

    /**
     * Where the model lies if it is not among the app's assets: the assets' path of an asset pack
     * that Play brings after the app is installed.
     */
    public ModelOptions folder(File place) {
        folder = place;
        return this;
    }

    /** Null for the app's assets. */
    File folder() {
        return folder;
    }

    int threads() {
        return threads;
    }

    int warmUp() {
        return warmUp;
    }

    boolean checkHash() {
        return checkHash;
    }

    List<Accelerator> preferred() {
        return preferred;
    }
}
