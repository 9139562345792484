package app;

import android.content.Context;
import edgekit.tokens.Accelerator;
import edgekit.tokens.ModelOptions;
import edgekit.tokens.Tensor;
import edgekit.tokens.Tokens;
import java.util.Arrays;
import org.pytorch.executorch.Module;

/** An app with a .pte over the runtime double: what it prints is compared by the test. */
public final class PteMain {
    private PteMain() {}

    /** The assets' folder, and one for the app's files. */
    public static void main(String[] arguments) throws Exception {
        Context context = new FolderContext(arguments[0], arguments[1]);
        try (Tokens model = Tokens.open(context, new ModelOptions().threads(2))) {
            System.out.println(model.getReport());
            System.out.println("runs " + Module.runs + " threads " + Module.threads);
            long[] given = new long[17];
            Arrays.fill(given, 5);
            Tokens.Answer answer = model.run(Tensor.of(given, 17));
            System.out.println(Arrays.toString(answer.getOutShape()) + " " + answer.getOut()[16]);
            model.run(Tensor.of(new long[3], 3));
        } catch (IllegalArgumentException e) {
            System.out.println(e.getMessage());
        }
        try (Tokens model = Tokens.open(context, new ModelOptions().prefer(Accelerator.GPU))) {
            System.out.println("opened");
        } catch (IllegalArgumentException e) {
            System.out.println(e.getMessage());
        }
    }
}
