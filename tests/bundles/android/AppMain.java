package app;

import android.content.Context;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.JniHandle;
import edgekit.net.Accelerator;
import edgekit.net.ModelOptions;
import edgekit.net.Net;
import edgekit.net.Picture;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;

/** An app over the runtime double: what it prints is compared by the test. */
public final class AppMain {
    private AppMain() {}

    /** The assets' folder, another one, and either that the file was changed or a pack's folder. */
    public static void main(String[] arguments) throws Exception {
        Context context = new FolderContext(arguments[0], arguments[1]);
        if (arguments.length > 3) {
            ModelOptions there = new ModelOptions().folder(new File(arguments[3]));
            try (Net model = Net.open(context, there)) {
                System.out.println(model.getReport());
                System.out.println(model.getLabels());
            } catch (IOException e) {
                System.out.println("refused " + e.getMessage());
            }
            return;
        }
        if (arguments.length > 2) {
            try (Net model = Net.open(context)) {
                System.out.println("opened");
            } catch (IOException e) {
                System.out.println("refused " + e.getMessage());
            }
            try (Net model = Net.open(context, new ModelOptions().checkHash(false))) {
                System.out.println(model.getReport());
            }
            return;
        }
        Net model = Net.open(context);
        System.out.println(model.getReport());
        System.out.println("runs " + CompiledModel.runs + " threads " + CompiledModel.threads);
        byte[] rgb = new byte[4 * 3 * 3];
        for (int i = 0; i < rgb.length; i++) {
            rgb[i] = (byte) (7 * i);
        }
        Net.Answer answer = model.run(Picture.ofRgb(rgb, 3, 4));
        System.out.println(Arrays.toString(answer.getScores()));
        System.out.println(Arrays.toString(answer.getScoresShape()));
        System.out.println(answer.getBest() + " " + answer.top(2));
        model.close();
        model.close();
        System.out.println("open handles " + JniHandle.open);
        try {
            model.run(Picture.ofRgb(rgb, 3, 4));
        } catch (IllegalStateException e) {
            System.out.println(e.getMessage());
        }
        ModelOptions options = new ModelOptions().prefer(Accelerator.CPU).threads(3).warmUp(0);
        int before = CompiledModel.runs;
        try (Net other = Net.open(context, options)) {
            System.out.println(other.getReport());
        }
        System.out.println(
                "runs " + (CompiledModel.runs - before) + " threads " + CompiledModel.threads);
        try (Net other = Net.open(context, new ModelOptions().prefer(Accelerator.NPU))) {
            System.out.println("opened");
        } catch (IllegalStateException e) {
            System.out.println(e.getMessage());
        }
    }
}
