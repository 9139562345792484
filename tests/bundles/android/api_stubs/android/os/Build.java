package android.os;

public class Build {
    public static class VERSION {
        // Not a constant, so that it is not compiled into its users.
        public static final int SDK_INT = Integer.parseInt("0");
    }
}
