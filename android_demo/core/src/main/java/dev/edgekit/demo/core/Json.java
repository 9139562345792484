package dev.edgekit.demo.core;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CodingErrorAction;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A strict reader and a writer of JSON.
 *
 * <p>Values are null, Boolean, Long, Double, String, List and Map. A whole number that no long holds
 * is a Double. Refused are, beyond what JSON's grammar refuses: a key that is there twice, since
 * readers disagree which one counts; more than {@link #DEPTH} levels; half a character ("\ud800").
 */
public final class Json {
    static final int DEPTH = 64;
    static final Charset UTF_8 = Charset.forName("UTF-8");

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Throws IllegalArgumentException, whose message says what is wrong and where. */
    public static Object parse(byte[] data) {
        try {
            return parse(
                    UTF_8.newDecoder()
                            .onMalformedInput(CodingErrorAction.REPORT)
                            .onUnmappableCharacter(CodingErrorAction.REPORT)
                            .decode(ByteBuffer.wrap(data))
                            .toString());
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException("it is not UTF-8");
        }
    }

    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.skip();
        if (reader.at != text.length()) {
            throw reader.wrong("something follows the value");
        }
        return value;
    }

    private IllegalArgumentException wrong(String what) {
        return new IllegalArgumentException("character " + at + ": " + what);
    }

    private void skip() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private char next() {
        if (at == text.length()) {
            throw wrong("it ends too early");
        }
        return text.charAt(at);
    }

    private void take(char wanted) {
        if (next() != wanted) {
            throw wrong("'" + wanted + "' is missing");
        }
        at++;
    }

    private Object value(int depth) {
        if (depth > DEPTH) {
            throw wrong("more than " + DEPTH + " levels");
        }
        skip();
        switch (next()) {
            case '{':
                return object(depth);
            case '[':
                return list(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw wrong("no value");
        }
        at += word.length();
        return value;
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> found = new LinkedHashMap<>();
        take('{');
        skip();
        if (next() == '}') {
            at++;
            return found;
        }
        while (true) {
            skip();
            String key = string();
            skip();
            take(':');
            Object value = value(depth + 1);
            if (found.containsKey(key)) {
                throw wrong("the key " + quoted(key) + " is there twice");
            }
            found.put(key, value);
            skip();
            if (next() == '}') {
                at++;
                return found;
            }
            take(',');
        }
    }

    private List<Object> list(int depth) {
        List<Object> found = new ArrayList<>();
        take('[');
        skip();
        if (next() == ']') {
            at++;
            return found;
        }
        while (true) {
            found.add(value(depth + 1));
            skip();
            if (next() == ']') {
                at++;
                return found;
            }
            take(',');
        }
    }

    private String string() {
        take('"');
        StringBuilder made = new StringBuilder();
        while (next() != '"') {
            char c = text.charAt(at++);
            if (c < ' ') {
                throw wrong("a control character in a text");
            }
            made.append(c == '\\' ? escaped() : c);
        }
        at++;
        for (int i = 0; i < made.length(); i++) {
            boolean high = Character.isHighSurrogate(made.charAt(i));
            boolean paired =
                    high && i + 1 < made.length() && Character.isLowSurrogate(made.charAt(i + 1));
            if (Character.isSurrogate(made.charAt(i)) && !paired) {
                throw wrong("half a character");
            }
            i += paired ? 1 : 0;
        }
        return made.toString();
    }

    private char escaped() {
        char c = next();
        at++;
        int known = "\"\\/bfnrt".indexOf(c);
        if (known >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(known);
        }
        if (c != 'u' || at + 4 > text.length()) {
            throw wrong("an unknown escape");
        }
        int code = 0;
        for (int i = 0; i < 4; i++) {
            int digit = "0123456789abcdef".indexOf(Character.toLowerCase(text.charAt(at++)));
            if (digit < 0) {
                throw wrong("an unknown escape");
            }
            code = 16 * code + digit;
        }
        return (char) code;
    }

    private void digits() {
        int from = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == from) {
            throw wrong("no value");
        }
    }

    private Object number() {
        int from = at;
        boolean whole = true;
        at += next() == '-' ? 1 : 0;
        int first = at;
        digits();
        if (text.charAt(first) == '0' && at > first + 1) {
            throw wrong("a number begins with 0");
        }
        if (at < text.length() && text.charAt(at) == '.') {
            whole = false;
            at++;
            digits();
        }
        if (at < text.length() && "eE".indexOf(text.charAt(at)) >= 0) {
            whole = false;
            at++;
            at += at < text.length() && "+-".indexOf(text.charAt(at)) >= 0 ? 1 : 0;
            digits();
        }
        String digits = text.substring(from, at);
        if (whole) {
            try {
                return Long.valueOf(digits);
            } catch (NumberFormatException e) {
                return Double.valueOf(digits);  // larger than any long
            }
        }
        return Double.valueOf(digits);
    }

    /** The text of a value. Numbers that are not finite are refused: JSON has none. */
    public static String write(Object value) {
        StringBuilder to = new StringBuilder();
        write(to, value);
        return to.toString();
    }

    private static void write(StringBuilder to, Object value) {
        if (value instanceof Map) {
            String comma = "{";
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                to.append(comma).append(quoted((String) entry.getKey())).append(": ");
                write(to, entry.getValue());
                comma = ", ";
            }
            to.append(comma.equals("{") ? "{}" : "}");
        } else if (value instanceof List) {
            String comma = "[";
            for (Object each : (List<?>) value) {
                to.append(comma);
                write(to, each);
                comma = ", ";
            }
            to.append(comma.equals("[") ? "[]" : "]");
        } else if (value instanceof long[]) {
            long[] numbers = (long[]) value;
            to.append("[");
            for (int i = 0; i < numbers.length; i++) {
                to.append(i == 0 ? "" : ", ").append(numbers[i]);
            }
            to.append("]");
        } else if (value instanceof String) {
            to.append(quoted((String) value));
        } else if (value instanceof Double || value instanceof Float) {
            double real = ((Number) value).doubleValue();
            if (Double.isNaN(real) || Double.isInfinite(real)) {
                throw new IllegalArgumentException(real + " is no number in JSON");
            }
            to.append(real);
        } else if (value == null || value instanceof Boolean || value instanceof Number) {
            to.append(value);
        } else {
            throw new IllegalArgumentException(value.getClass() + " is nothing in JSON");
        }
    }

    static String quoted(String text) {
        StringBuilder to = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                to.append('\\').append(c);
            } else if (c < ' ' || c >= 0x7f) {
                String hex = Integer.toHexString(c);
                to.append("\\u").append("0000", 0, 4 - hex.length()).append(hex);
            } else {
                to.append(c);
            }
        }
        return to.append('"').toString();
    }
}
