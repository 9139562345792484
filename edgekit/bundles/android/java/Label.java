package edgekit.model;

/** A class with its score. */
public final class Label implements Comparable<Label> {
    private final int index;
    private final String name;
    private final float score;

    Label(int index, String name, float score) {
        this.index = index;
        this.name = name;
        this.score = score;
    }

    /** Its place among the scores, from 0. */
    public int getIndex() {
        return index;
    }

    /** From labels.txt; empty where the labels do not name these scores. */
    public String getName() {
        return name;
    }

    /** As the model gives it, in real numbers. */
    public float getScore() {
        return score;
    }

    /** The better one first. */
    @Override
    public int compareTo(Label other) {
        int byScore = Float.compare(other.score, score);
        return byScore != 0 ? byScore : Integer.compare(index, other.index);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Label
                && ((Label) other).index == index
                && Float.compare(((Label) other).score, score) == 0
                && ((Label) other).name.equals(name);
    }

    @Override
    public int hashCode() {
        return 31 * index + Float.floatToIntBits(score);
    }

    @Override
    public String toString() {
        return (name.isEmpty() ? "[" + index + "]" : name) + " " + score;
    }
}
