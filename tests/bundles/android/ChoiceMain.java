package app;

import android.content.Context;
import edgekit.net.ModelOptions;
import edgekit.net.Net;
import edgekit.net.Phone;
import edgekit.net.Picture;
import java.io.IOException;
import java.util.Arrays;

/** An app whose bundle has several variants, over the runtime double. */
public final class ChoiceMain {
    private ChoiceMain() {}

    /** The assets' folder and another one; then phones: SoC, API level and bytes of memory of each. */
    public static void main(String[] arguments) throws Exception {
        Context context = new FolderContext(arguments[0], arguments[1]);
        System.out.println(Phone.of(context) + ": " + Net.variantsFor(Phone.of(context)));
        for (int at = 2; at < arguments.length; at += 3) {
            int api = Integer.parseInt(arguments[at + 1]);
            Phone phone = new Phone(arguments[at], api, Long.parseLong(arguments[at + 2]));
            try (Net model = Net.open(context, new ModelOptions(), phone)) {
                System.out.println(model.getVariant() + " " + model.getReport().getApplied());
                System.out.println(model.getRefusals());
                Net.Answer answer = model.run(Picture.ofRgb(new byte[12], 2, 2));
                System.out.println(Arrays.toString(answer.getScoresShape()) + answer.getBest());
            } catch (IOException | IllegalStateException e) {
                System.out.println(e.getMessage());
            }
        }
    }
}
