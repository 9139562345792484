package app;

import android.content.Context;
import edgekit.net.ModelOptions;
import edgekit.net.Net;
import java.io.File;
import java.io.IOException;

/** An app whose model Play has brought into a folder, over the runtime double. */
public final class DeliveredMain {
    private DeliveredMain() {}

    /** Two folders that are not looked at, and that of the pack. */
    public static void main(String[] arguments) {
        Context context = new FolderContext(arguments[0], arguments[1]);
        ModelOptions there = new ModelOptions().folder(new File(arguments[2]));
        try (Net model = Net.open(context, there)) {
            System.out.println(model.getVariant() + " " + model.getReport().getApplied());
            System.out.println(model.getRefusals());
        } catch (IOException | IllegalStateException e) {
            System.out.println(e.getMessage());
        }
    }
}
