package edgekit.model;

import android.app.ActivityManager;
import android.content.Context;
import android.os.Build;
import java.util.Locale;

/** What tells one phone from another where a bundle has several variants. */
public final class Phone {
    private final String soc;
    private final int api;
    private final long memoryBytes;

    /** For tests of an app: that of another phone. */
    public Phone(String soc, int api, long memoryBytes) {
        this.soc = soc;
        this.api = api;
        this.memoryBytes = memoryBytes;
    }

    /** This phone. */
    public static Phone of(Context context) {
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        return new Phone(socModel(), Build.VERSION.SDK_INT, memory.totalMem);
    }

    /** Android 12 and newer tell it; asked for by name, so that older SDKs compile this. */
    private static String socModel() {
        if (Build.VERSION.SDK_INT < 31) {
            return "";
        }
        try {
            return String.valueOf(Build.class.getField("SOC_MODEL").get(null));
        } catch (ReflectiveOperationException e) {
            return ""; // as a phone that does not tell
        }
    }

    /** As its maker calls it (SM8650); empty where Android does not tell, before 12. */
    public String getSoc() {
        return soc;
    }

    /** Whether it is one of these; capitals do not count. */
    boolean isAny(String... socs) {
        for (String each : socs) {
            if (each.toLowerCase(Locale.ROOT).equals(soc.toLowerCase(Locale.ROOT))) {
                return true;
            }
        }
        return false;
    }

    /** Android's version as its API level: 31 is Android 12. */
    public int getApi() {
        return api;
    }

    /** That the system may use, somewhat less than what the phone is sold with. */
    public long getMemoryBytes() {
        return memoryBytes;
    }

    @Override
    public String toString() {
        String name = soc.isEmpty() ? "a SoC that Android does not tell" : soc;
        return name + ", API " + api + ", " + memoryBytes / 1000000 + " MB";
    }
}
