package conformance;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;

/** What every language does for the conformance suite, in Java. */
public class Main implements RequestHandler<Map<String, Object>, Object> {
  private int calls = 0;

  @Override
  public Object handleRequest(Map<String, Object> event, Context context) {
    calls += 1;
    if (event.containsKey("Records")) {
      Storage.copyAll((List<?>) event.get("Records"));
      return null;
    }
    return switch ((String) event.get("do")) {
      case "echo" -> event;
      case "fail" -> throw new IllegalStateException("no bread here");
      case "sleep" -> sleep(((Number) event.get("seconds")).doubleValue());
      case "exit" -> exit();
      case "environment" -> System.getenv();
      case "print" -> print(context);
      case "count" -> calls;
      case "large" -> "x".repeat((Integer) event.get("size"));
      case "context" -> Map.of(
          "id", context.getAwsRequestId(),
          "arn", context.getInvokedFunctionArn(),
          "function", context.getFunctionName(),
          "left", context.getRemainingTimeInMillis());
      default -> null;
    };
  }

  private static Object sleep(double seconds) {
    try {
      Thread.sleep((long) (seconds * 1000));
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
    return null;
  }

  private static Object exit() {
    Runtime.getRuntime().halt(3);
    return null;
  }

  private static Object print(Context context) {
    System.out.println("printed");
    System.err.println("complained");
    context.getLogger().log("logged\n");
    return null;
  }

  /** Loaded at the first upload only, as the SDK takes a while to begin. */
  private static final class Storage {
    private static final S3Client S3 = S3Client.create();

    /** Copies `in/name` to `out/name`. */
    static void copyAll(List<?> records) {
      for (Object record : records) {
        Map<?, ?> s3 = (Map<?, ?>) ((Map<?, ?>) record).get("s3");
        String bucket = (String) ((Map<?, ?>) s3.get("bucket")).get("name");
        String encoded = (String) ((Map<?, ?>) s3.get("object")).get("key");
        String key = URLDecoder.decode(encoded, StandardCharsets.UTF_8);
        byte[] body = S3.getObjectAsBytes(get -> get.bucket(bucket).key(key)).asByteArray();
        String target = key.replaceFirst("in/", "out/");
        S3.putObject(put -> put.bucket(bucket).key(target), RequestBody.fromBytes(body));
      }
    }
  }
}
