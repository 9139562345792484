package android.content;

public abstract class Context {
    public abstract android.content.res.AssetManager getAssets();

    public abstract java.io.File getNoBackupFilesDir();

    public static final String ACTIVITY_SERVICE = "activity";

    public abstract Object getSystemService(String name);
}
