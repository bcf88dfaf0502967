package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.events.S3Event;
import com.drew.imaging.ImageProcessingException;
import com.drew.imaging.jpeg.JpegMetadataReader;
import com.drew.metadata.Directory;
import com.drew.metadata.Metadata;
import com.drew.metadata.Tag;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;

/** Writes what each photo under {@code photos/} tells of itself into {@code exif/}, as JSON. */
public class ReadExif implements RequestHandler<S3Event, Void> {
  /** Characters of one value: some cameras store whole pictures as text. */
  private static final int LONGEST = 1_000;

  private static final S3Client S3 = S3Client.create();
  private static final Gson JSON = new GsonBuilder().setPrettyPrinting().create();

  @Override
  public Void handleRequest(S3Event event, Context context) {
    for (var record : event.getRecords()) {
      String bucket = record.getS3().getBucket().getName();
      String key = record.getS3().getObject().getUrlDecodedKey();
      String told = JSON.toJson(read(bucket, key));
      String target = key.replaceFirst("^photos/", "exif/").replaceFirst("\\.jpg$", ".json");
      S3.putObject(
          put -> put.bucket(bucket).key(target).contentType("application/json"),
          RequestBody.fromString(told));
      context.getLogger().log(key + " into " + target + "\n");
    }
    return null;
  }

  /** Reads a photo's head alone: its pixels are never in memory. */
  private static Map<String, Map<String, String>> read(String bucket, String key) {
    var object = S3.getObject(get -> get.bucket(bucket).key(key));
    try {
      InputStream stream = new BufferedInputStream(object);
      return told(JpegMetadataReader.readMetadata(stream));
    } catch (ImageProcessingException | IOException error) {
      throw new UnusablePhoto(bucket + "/" + key + " is no sound JPEG: " + error.getMessage(), error);
    } finally {
      object.abort(); // the rest of the photo is not wanted
    }
  }

  private static Map<String, Map<String, String>> told(Metadata metadata) {
    Map<String, Map<String, String>> found = new LinkedHashMap<>();
    for (Directory directory : metadata.getDirectories()) {
      var tags = found.computeIfAbsent(directory.getName(), name -> new LinkedHashMap<>());
      for (Tag tag : directory.getTags()) {
        tags.put(tag.getTagName(), shortened(tag.getDescription()));
      }
    }
    return found;
  }

  private static String shortened(String text) {
    return text == null || text.length() <= LONGEST ? text : text.substring(0, LONGEST) + "…";
  }

  /** A photo that cannot be read, whatever is tried. */
  public static class UnusablePhoto extends RuntimeException {
    UnusablePhoto(String message, Throwable cause) {
      super(message, cause);
    }
  }
}
