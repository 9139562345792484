package app;

import android.app.ActivityManager;
import android.content.Context;
import android.content.res.AssetManager;
import java.io.File;

/** An app's context on a desktop: its assets and its files are folders. */
final class FolderContext extends Context {
    private final File assets;
    private final File files;

    FolderContext(String assets, String files) {
        this.assets = new File(assets);
        this.files = new File(files);
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
