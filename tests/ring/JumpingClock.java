import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.cassandra.utils.Clock;

/** The wall clock of one Cassandra that a test sets: the machine's, and as many milliseconds more as a file says. */
public final class JumpingClock implements Clock {
    private static final long LOOK_MS = 50;
    private final Path told = Path.of(System.getProperty("consilium.clock"));
    private volatile long aheadMs;

    public JumpingClock() {
        look();
        Thread looking = new Thread(this::keepLooking, "jumping-clock");
        looking.setDaemon(true);
        looking.start();
    }

    @Override
    public long nanoTime() {
        return System.nanoTime();
    }

    @Override
    public long currentTimeMillis() {
        return System.currentTimeMillis() + aheadMs;
    }

    private void keepLooking() {
        try {
            while (true) {
                Thread.sleep(LOOK_MS);
                look();
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void look() {
        try {
            aheadMs = Long.parseLong(Files.readString(told));
        } catch (IOException failed) {
            throw new IllegalStateException(failed);
        }
    }
}
