package app;

import android.app.ActivityManager;
import android.content.Context;
import android.content.res.AssetManager;
import edgekit.net.ModelOptions;
import edgekit.net.Net;
import edgekit.net.Phone;
import edgekit.net.Picture;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;

/** An app whose bundle has several variants, over the runtime double. */
public final class ChoiceMain {
    private static final class FolderContext extends Context {
        private final File assets;
        private final File files;

        FolderContext(File assets, File files) {
            this.assets = assets;
            this.files = files;
        }

        @Override
        public AssetManager getAssets() {
            return new AssetManager(assets);
        }

        @Override
        public File getNoBackupFilesDir() {
            return files;
        }

        @Override
        public Object getSystemService(String name) {
            return new ActivityManager() {
                @Override
                public void getMemoryInfo(MemoryInfo found) {
                    found.totalMem = 5700000000L;
                }
            };
        }
    }

    private ChoiceMain() {}

    /** The assets' folder and another one; then phones: SoC, API level and bytes of memory of each. */
    public static void main(String[] arguments) throws Exception {
        Context context = new FolderContext(new File(arguments[0]), new File(arguments[1]));
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
