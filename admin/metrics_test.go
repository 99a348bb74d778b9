package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Every metric that scripts and alerts depend on is there from the first scrape on, by
// the conventions of Prometheus.
func TestMetricNames(t *testing.T) {
	run(t, func(b *bench) {
		free := uint64(1 << 40)
		b.store.DiskFree = &free
		b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/healthz", nil)) // foyer_http_requests_total begins with a request
		problems, err := testutil.GatherAndLint(b.admin.metrics)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		families, err := b.admin.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, f := range families {
			found[f.GetName()] = true
			if strings.HasPrefix(f.GetName(), "foyer_") && f.GetHelp() == "" {
				t.Errorf("%s has no help", f.GetName())
			}
		}
		for name := range strings.FieldsSeq(`
			foyer_build_info foyer_requests_total foyer_request_duration_seconds foyer_datagrams_received_total foyer_datagrams_sent_total
			foyer_dropped_total foyer_write_queue_datagrams foyer_write_queue_capacity_datagrams foyer_verify_queue_datagrams
			foyer_commits_total foyer_commit_duration_seconds foyer_commit_datagrams foyer_registrations foyer_leases foyer_holds foyer_outcomes
			foyer_events_total foyer_stalls_total foyer_store_writable foyer_store_file_bytes foyer_store_free_bytes foyer_store_disk_free_bytes
			foyer_watchers foyer_watchers_cut_off_total foyer_http_requests_total foyer_dns_queries_total
			go_goroutines process_start_time_seconds`) {
			if !found[name] {
				t.Errorf("%s is missing", name)
			}
		}
	})
}

// A scrape says what the registry has done.
func TestMetrics(t *testing.T) {
	run(t, func(b *bench) {
		b.store.File, b.store.Free = 1<<20, 4096
		b.register("Foyer", "Hall")
		b.send("LOOKUP Foyer\nLOOKUP Foyer\nLOOKUP nowhere")
		b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/v1/rooms/nowhere", nil))
		b.ask(b.admin.Public(), request("DELETE", "/v1/rooms/Foyer", "localhost"))
		b.ask(b.admin.Public(), request("NONSENSE", "/v1/rooms/Foyer", "localhost"))
		time.Sleep(22 * time.Second)

		status, scrape := b.ask(b.admin.Public(), request("GET", "/metrics", "localhost"))
		if status != http.StatusOK {
			t.Fatal(status, scrape)
		}
		lines := map[string]bool{}
		for line := range strings.Lines(scrape) {
			lines[strings.TrimSpace(line)] = true
		}
		for _, want := range []string{
			`foyer_requests_total{code="ok",verb="lookup"} 2`,
			`foyer_requests_total{code="unknown-name",verb="lookup"} 1`,
			`foyer_requests_total{code="ok",verb="register"} 2`,
			`foyer_requests_total{code="ok",verb="deregister"} 0`,
			`foyer_request_duration_seconds_bucket{verb="lookup",le="1.6e-05"} 3`,
			`foyer_request_duration_seconds_bucket{verb="lookup",le="4.194304"} 3`,
			`foyer_request_duration_seconds_bucket{verb="lookup",le="+Inf"} 3`,
			`foyer_request_duration_seconds_count{verb="lookup"} 3`,
			`foyer_datagrams_received_total 3`,
			`foyer_datagrams_sent_total 3`,
			`foyer_dropped_total{reason="write_queue_full"} 0`,
			`foyer_dns_queries_total{rcode="NXDOMAIN",type="SRV"} 7`,
			`foyer_write_queue_datagrams 0`,
			`foyer_write_queue_capacity_datagrams 2048`,
			`foyer_commits_total{result="ok"} 2`,
			`foyer_commits_total{result="uncertain"} 0`,
			`foyer_commit_datagrams_bucket{le="1"} 2`,
			`foyer_commit_datagrams_sum 2`,
			`foyer_events_total{event="registered"} 2`,
			`foyer_events_total{event="renewed-late"} 0`,
			`foyer_registrations 2`,
			`foyer_leases{remaining_under="10s"} 2`,
			`foyer_leases{remaining_under="1m"} 2`,
			`foyer_leases{remaining_under="24h"} 2`,
			`foyer_holds 0`,
			`foyer_store_writable 1`,
			`foyer_store_file_bytes 1.048576e+06`,
			`foyer_store_free_bytes 4096`,
			`foyer_watchers 0`,
			`foyer_http_requests_total{code="404",method="get"} 1`,
			`foyer_http_requests_total{code="403",method="delete"} 1`,
			`foyer_http_requests_total{code="403",method="unknown"} 1`,
		} {
			if !lines[want] {
				t.Errorf("there is no line %s", want)
			}
		}
		if strings.Contains(scrape, "foyer_store_disk_free_bytes ") {
			t.Error("the free space of a disk is told that is not known")
		}
		if t.Failed() {
			for line := range strings.Lines(scrape) {
				if strings.HasPrefix(line, "foyer_") && !strings.Contains(line, "_bucket") {
					t.Log(line)
				}
			}
		}
	})
}

// A stuckWriter takes nothing from the second flush on, until it is released.
type stuckWriter struct {
	http.ResponseWriter
	flushes  int
	stuck    chan struct{} // closed when it takes nothing
	released chan struct{}
}

func (w *stuckWriter) Flush() {
	if w.flushes++; w.flushes == 2 {
		close(w.stuck)
		<-w.released
	}
}

// Watchers that are cut off are counted, others only while they watch.
func TestWatchersAreCounted(t *testing.T) {
	run(t, func(b *bench) {
		w := &stuckWriter{ResponseWriter: httptest.NewRecorder(), stuck: make(chan struct{}), released: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.admin.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/watch", nil))
		}()
		synctest.Wait()
		b.send("REGISTER room://192.0.2.10:1 x\nDEREGISTER x")
		<-w.stuck
		expect := func(watchers, cutOff string) {
			t.Helper()
			_, scrape := b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/metrics", nil))
			for _, line := range []string{"\nfoyer_watchers " + watchers + "\n", "\nfoyer_watchers_cut_off_total " + cutOff + "\n"} {
				if !strings.Contains(scrape, line) {
					t.Errorf("there is no line %s", strings.TrimSpace(line))
				}
			}
		}
		expect("1", "0")
		pairs := strings.Repeat("REGISTER room://192.0.2.10:1 x\nDEREGISTER x\n", 25)
		for range 400 { // 20,000 changes; fewer are kept
			b.send(pairs)
		}
		close(w.released)
		<-done
		expect("0", "1")
	})
}

// Regular backups have metrics if there are any.
func TestBackupMetrics(t *testing.T) {
	run(t, func(b *bench) {
		scrape := func(o Options) string {
			o.Store = func() Store { return b.store }
			_, body := b.ask(newMetrics(b.server, &o).handler(slog.New(slog.DiscardHandler)), httptest.NewRequest("GET", "/metrics", nil))
			return body
		}
		if got := scrape(Options{}); strings.Contains(got, "foyer_backup") {
			t.Errorf("without backups:\n%s", got)
		}
		status := Backup{}
		for _, want := range []string{"foyer_backup_last_success_timestamp_seconds 0\n", "foyer_backup_last_success_timestamp_seconds 1.5e+09\n"} {
			got := scrape(Options{Backup: func() Backup { return status }})
			if !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf("foyer_backup_failures_total %d\n", status.Failures)) {
				t.Errorf("want %s in\n%s", want, got)
			}
			status = Backup{LastSuccessAt: time.Unix(1_500_000_000, 0), Failures: 3}
		}
	})
}
