package android.content;

public abstract class Context {
    public abstract android.content.res.AssetManager getAssets();

    public abstract java.io.File getNoBackupFilesDir();

    // Not constants, as in Build.
    public static final String ACTIVITY_SERVICE = String.valueOf("activity");

    public abstract Object getSystemService(String name);
}
