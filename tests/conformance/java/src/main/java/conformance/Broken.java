package conformance;

/** A handler that cannot be made. */
public class Broken extends Main {
  static {
    if (true) throw new IllegalStateException("cannot begin");
  }
}
