package edgekit.model;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs steps over arrays that come through stdin, until it ends: for tests on a desktop's JVM.
 *
 * <p>A case: the number of calls, each call as text, then type, rank, shape and numbers of the
 * array, all big-endian. A call is either the very expression that an accessor has in it, on `v`
 * (<code>Preprocessing.resizeBilinear(v, 7, 9)</code>), or a static method of a class with one
 * parameter, <code>edgekit.digits.Digits#prepareImage</code>. The answer: a byte 1 and an array in
 * the same form, or 0 and the exception's words.
 */
public final class PreparingMain {
    private PreparingMain() {}

    public static void main(String[] arguments) throws Exception {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        for (int first = in.read(); first >= 0; first = in.read()) {
            int count = first << 24 | in.readUnsignedByte() << 16 | in.readUnsignedShort();
            List<String> calls = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                calls.add(in.readUTF());
            }
            Tensor values = read(in);
            try {
                for (String call : calls) {
                    values = call.contains("#") ? callMethod(call, values) : callStep(call, values);
                }
                out.writeByte(1);
                write(out, values);
            } catch (InvocationTargetException e) {
                if (!(e.getCause() instanceof IllegalArgumentException)) {
                    throw e;
                }
                out.writeByte(0);
                out.writeUTF(e.getCause().getMessage());
            }
            out.flush();
        }
    }

    private static Tensor callStep(String call, Tensor values) throws Exception {
        int open = call.indexOf('(');
        String name = call.substring(call.indexOf('.') + 1, open);
        String rest = call.substring(open + 2, call.length() - 1);
        if (call.charAt(open + 1) != 'v') {
            throw new IllegalStateException(call);
        }
        List<Object> given = new ArrayList<>();
        given.add(values);
        for (String text : rest.isEmpty() ? new String[0] : rest.substring(2).split(", (?![^{]*})")) {
            given.add(value(text));
        }
        if (call.startsWith("Postprocessing.toReal(")) {
            float[] scale = (float[]) given.get(1);
            int[] zeroPoint = (int[]) given.get(2);
            int axis = (Integer) given.get(3);
            int[] shape = values.shape;
            TensorSpec spec =
                    new TensorSpec("", values.type, shape, shape, "", scale, zeroPoint, axis);
            return Tensor.of(Postprocessing.toReal(spec, values), shape);
        }
        if (call.equals("Postprocessing.softmax(v)")) {
            return Tensor.of(Postprocessing.softmax(values.floats()), values.shape);
        }
        for (Method method : Preprocessing.class.getDeclaredMethods()) {
            if (method.getName().equals(name)) {
                return (Tensor) method.invoke(null, given.toArray());
            }
        }
        throw new IllegalStateException("no step " + name);
    }

    private static Object value(String text) {
        if (text.startsWith("Tensor.Type.")) {
            return Tensor.Type.valueOf(text.substring("Tensor.Type.".length()));
        }
        if (text.startsWith("new float[] {")) {
            String[] parts = text.substring("new float[] {".length(), text.length() - 1).split(", ");
            float[] made = new float[parts.length];
            for (int i = 0; i < parts.length; i++) {
                made[i] = Float.parseFloat(parts[i]);
            }
            return made;
        }
        if (text.startsWith("new int[] {")) {
            String[] parts = text.substring("new int[] {".length(), text.length() - 1).split(", ");
            int[] made = new int[parts.length];
            for (int i = 0; i < parts.length; i++) {
                made[i] = Integer.parseInt(parts[i]);
            }
            return made;
        }
        if (text.endsWith("f")) {
            return Float.parseFloat(text);
        }
        return Integer.parseInt(text);
    }

    /** A method of an accessor, which may be of another package with its own Tensor. */
    private static Tensor callMethod(String call, Tensor values) throws Exception {
        Class<?> owner = Class.forName(call.substring(0, call.indexOf('#')));
        for (Method method : owner.getDeclaredMethods()) {
            if (method.getName().equals(call.substring(call.indexOf('#') + 1))) {
                method.setAccessible(true);
                return back(method.invoke(null, over(values, method.getParameterTypes()[0])));
            }
        }
        throw new IllegalStateException("no " + call);
    }

    private static Object over(Tensor values, Class<?> wanted) throws Exception {
        if (wanted.isArray()) {
            return values.data;
        }
        int[] shape = values.shape;
        if (wanted.getSimpleName().equals("Picture")) {
            int[] pixels = new int[shape[0] * shape[1]];
            byte[] rgb = values.bytes();
            for (int i = 0; i < pixels.length; i++) {
                // Not opaque on purpose: that must not count.
                pixels[i] =
                        0x7F << 24
                                | (rgb[3 * i] & 0xFF) << 16
                                | (rgb[3 * i + 1] & 0xFF) << 8
                                | rgb[3 * i + 2] & 0xFF;
            }
            Method made = wanted.getMethod("ofArgb", int[].class, int.class, int.class);
            return made.invoke(null, pixels, shape[1], shape[0]);
        }
        String name = values.type.name();
        name = name.equals("UINT8") ? "ofUint8" : name.equals("INT8") ? "ofInt8" : "of";
        Method made = wanted.getMethod(name, values.data.getClass(), int[].class);
        return made.invoke(null, values.data, shape);
    }

    private static Tensor back(Object tensor) throws Exception {
        Class<?> type = tensor.getClass();
        java.lang.reflect.Field data = type.getDeclaredField("data");
        data.setAccessible(true);
        String name = type.getMethod("getType").invoke(tensor).toString();
        int[] shape = (int[]) type.getMethod("getShape").invoke(tensor);
        return new Tensor(Tensor.Type.valueOf(name), data.get(tensor), shape, false);
    }

    private static Tensor read(DataInputStream in) throws IOException {
        Tensor.Type type = Tensor.Type.values()[in.readInt()];
        int[] shape = new int[in.readInt()];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = in.readInt();
        }
        Tensor made = Tensor.zeros(type, shape);
        for (int i = 0; i < made.count(); i++) {
            switch (type) {
                case UINT8:
                case INT8:
                    Array.setByte(made.data, i, in.readByte());
                    break;
                case INT16:
                    Array.setShort(made.data, i, in.readShort());
                    break;
                case INT32:
                    Array.setInt(made.data, i, in.readInt());
                    break;
                case INT64:
                    Array.setLong(made.data, i, in.readLong());
                    break;
                case BOOL:
                    Array.setBoolean(made.data, i, in.readBoolean());
                    break;
                default:
                    Array.setFloat(made.data, i, in.readFloat());
            }
        }
        return made;
    }

    private static void write(DataOutputStream out, Tensor values) throws IOException {
        out.writeInt(values.type.ordinal());
        out.writeInt(values.shape.length);
        for (int size : values.shape) {
            out.writeInt(size);
        }
        for (int i = 0; i < values.count(); i++) {
            switch (values.type) {
                case UINT8:
                case INT8:
                    out.writeByte(Array.getByte(values.data, i));
                    break;
                case INT16:
                    out.writeShort(Array.getShort(values.data, i));
                    break;
                case INT32:
                    out.writeInt(Array.getInt(values.data, i));
                    break;
                case INT64:
                    out.writeLong(Array.getLong(values.data, i));
                    break;
                case BOOL:
                    out.writeBoolean(Array.getBoolean(values.data, i));
                    break;
                default:
                    out.writeFloat(Array.getFloat(values.data, i));
            }
        }
    }
}
