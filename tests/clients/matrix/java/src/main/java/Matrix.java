import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.protocols.jsoncore.JsonNode;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.services.s3.model.UploadPartResponse;

/** Drives the AWS SDK for Java v2: a JSON command a line in, a JSON answer a line out. */
public final class Matrix {
    private final S3Client s3;
    private final String bucket;

    private Matrix(S3Client s3, String bucket) {
        this.s3 = s3;
        this.bucket = bucket;
    }

    public static void main(String[] arguments) throws Exception {
        S3Client s3 = S3Client.builder().endpointOverride(URI.create(arguments[0])).forcePathStyle(true).build();
        Matrix matrix = new Matrix(s3, arguments[1]);
        PrintStream output = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Map<String, String> given = new TreeMap<>();
            JsonNode.parser().parse(line).asObject().forEach((name, value) -> given.put(name, value.asString()));
            try {
                output.println(matrix.call(given));
            } catch (Exception error) {
                output.println("{\"error\":" + quoted(error.toString()) + "}");
            }
        }
    }

    private String call(Map<String, String> given) throws Exception {
        String key = given.get("key");
        Path path = given.containsKey("path") ? Path.of(given.get("path")) : null;
        switch (given.get("do")) {
            case "version":
                return "{\"version\":" + quoted(VersionInfo.SDK_VERSION) + "}";
            case "put":
                s3.putObject(request -> request.bucket(bucket).key(key), RequestBody.fromFile(path));
                return "{}";
            case "get":
                fetch(GetObjectRequest.builder().bucket(bucket).key(key).build(), path);
                return "{}";
            case "range":
                String span = "bytes=" + given.get("first") + "-" + given.get("last");
                fetch(GetObjectRequest.builder().bucket(bucket).key(key).range(span).build(), path);
                return "{}";
            case "multipart":
                multipart(key, path, Integer.parseInt(given.get("part")));
                return "{}";
            case "list":
                return list(given.get("prefix"));
            case "copy":
                s3.copyObject(request -> request.sourceBucket(bucket).sourceKey(given.get("source"))
                        .destinationBucket(bucket).destinationKey(given.get("target")));
                return "{}";
            case "delete":
                s3.deleteObject(request -> request.bucket(bucket).key(key));
                return "{}";
            default:
                throw new IllegalArgumentException(given.get("do"));
        }
    }

    private void fetch(GetObjectRequest request, Path path) throws Exception {
        Files.deleteIfExists(path);
        s3.getObject(request, ResponseTransformer.toFile(path));
    }

    /** By hand: the client of this program has no transfer manager. */
    private void multipart(String key, Path path, int size) throws Exception {
        String upload = s3.createMultipartUpload(request -> request.bucket(bucket).key(key)).uploadId();
        List<CompletedPart> parts = new ArrayList<>();
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "r")) {
            for (long position = 0; position < file.length(); position += size) {
                byte[] data = new byte[(int) Math.min(size, file.length() - position)];
                file.readFully(data);
                int number = parts.size() + 1;
                UploadPartResponse done = s3.uploadPart(
                        request -> request.bucket(bucket).key(key).uploadId(upload).partNumber(number),
                        RequestBody.fromBytes(data));
                parts.add(CompletedPart.builder().partNumber(number).eTag(done.eTag())
                        .checksumCRC32(done.checksumCRC32()).build());
            }
        }
        s3.completeMultipartUpload(request -> request.bucket(bucket).key(key).uploadId(upload)
                .multipartUpload(done -> done.parts(parts)));
    }

    private String list(String prefix) {
        List<String> sizes = new ArrayList<>();
        for (S3Object item : s3.listObjectsV2Paginator(request -> request.bucket(bucket).prefix(prefix)).contents()) {
            sizes.add(quoted(item.key()) + ":" + item.size());
        }
        return "{\"sizes\":{" + String.join(",", sizes) + "}}";
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter < ' ' || letter == '"' || letter == '\\') {
                out.append(String.format("\\u%04x", (int) letter));
            } else {
                out.append(letter);
            }
        }
        return out.append('"').toString();
    }
}
