package admin

import (
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"foyer/discovery"
)

// maxScrapes bounds the scrapes that are answered at a time, from whomever they come;
// more get 503.
const maxScrapes = 4

// metrics are what GET /metrics tells Prometheus. All begin with foyer_, beside those
// of Go (go_*) and of the process (process_*). Counters begin at 0 with each process;
// nothing grows with the number of names. What each means, and its unit, is in its
// help text, below.
type metrics struct {
	*prometheus.Registry // for what else there is to tell
	requests             *prometheus.CounterVec
	cutOff               prometheus.Counter
}

// newMetrics returns the metrics of a server. This is the place to add others.
func newMetrics(server *discovery.Server, o *Options) *metrics {
	m := &metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "foyer_http_requests_total", Help: "HTTP requests that were answered, by method and status.",
		}, []string{"method", "code"}),
		cutOff: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "foyer_watchers_cut_off_total", Help: "Watchers that were cut off because they were too slow.",
		}),
	}
	watchers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "foyer_watchers", Help: "Those who watch the changes now.",
	}, func() float64 { return float64(server.Watches()) })
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "foyer_build_info", Help: "1, with the versions of the registry and of Go as labels.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	m.MustRegister(info, m.requests, m.cutOff, watchers, serverMetrics{server}, storeMetrics(o.Store),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if o.Backup != nil {
		m.MustRegister(backupMetrics(o.Backup))
	}
	if o.DNS != nil {
		m.MustRegister(dnsMetrics(o.DNS))
	}
	return m
}

// handler answers scrapes.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
	})
}

// count counts the requests that h answers. Methods that HTTP does not know are counted
// as one.
func (m *metrics) count(h http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(m.requests, h)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("foyer_"+name, help, labels, nil)
}

// Of the server. A request is a line of a datagram that was answered.
var (
	requestsTotal      = describe("requests_total", "Requests over UDP that were answered, by verb and code: ok, or the code of the refusal.", "verb", "code")
	requestDuration    = describe("request_duration_seconds", "Time from reading a request's datagram off the socket until its reply was sent, by verb.", "verb")
	datagramsReceived  = describe("datagrams_received_total", "Datagrams received; each may hold many requests.")
	datagramsSent      = describe("datagrams_sent_total", "Datagrams sent in reply.")
	droppedTotal       = describe("dropped_total", "Datagrams of which requests were refused as busy for want of room, by what was full.", "reason")
	writeQueue         = describe("write_queue_datagrams", "Datagrams that wait for the next transaction.")
	writeQueueCapacity = describe("write_queue_capacity_datagrams", "How many datagrams may wait for the next transaction.")
	verifyQueue        = describe("verify_queue_datagrams", "Datagrams that wait for their signatures to be checked.")
	commitsTotal       = describe("commits_total", "Transactions of the store, by result: ok, unavailable (nothing was changed) or uncertain.", "result")
	commitDuration     = describe("commit_duration_seconds", "Time that a transaction took, flushes of the disk included.")
	commitDatagrams    = describe("commit_datagrams", "Datagrams whose requests were carried out in one transaction.")
	eventsTotal        = describe("events_total", "What happened to registrations, by event.", "event")
	stallsTotal        = describe("stalls_total", "How often the registry stood still for more than a second; leases are extended then.")
	registrations      = describe("registrations", "Names that are registered.")
	leases             = describe("leases", "Leases that end in less than that time; 24h has all of them.", "remaining_under")
	holds              = describe("holds", "Names that are held back by the operator.")
	outcomes           = describe("outcomes", "Answers kept for retries, as of the last transaction; 0 before the first.")
	storeWritable      = describe("store_writable", "1 if the last transaction could be written, else 0.")
)

// serverMetrics collects those of a server, all of one moment.
type serverMetrics struct{ server *discovery.Server }

// Describe implements [prometheus.Collector].
func (c serverMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c serverMetrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counters := func(d *prometheus.Desc, byLabel map[string]uint64, labels ...string) {
		for label, n := range byLabel {
			counter(d, n, append(labels, label)...)
		}
	}
	s := c.server.Stats()
	for verb, r := range s.Requests {
		counters(requestsTotal, r.ByCode, verb)
		ch <- histogram(requestDuration, &r.Duration, verb)
	}
	counter(datagramsReceived, s.DatagramsReceived)
	counter(datagramsSent, s.DatagramsSent)
	counters(droppedTotal, s.Dropped)
	gauge(writeQueue, s.WriteQueue)
	gauge(writeQueueCapacity, s.WriteQueueCapacity)
	gauge(verifyQueue, s.VerifyQueue)
	counters(commitsTotal, s.Commits)
	ch <- histogram(commitDuration, &s.CommitDuration)
	ch <- histogram(commitDatagrams, &s.CommitDatagrams)
	counters(eventsTotal, s.Events)
	counter(stallsTotal, s.Stalls)
	gauge(registrations, s.Registrations)
	for _, l := range s.Leases {
		gauge(leases, l.N, short(l.Under))
	}
	gauge(holds, s.Holds)
	gauge(outcomes, s.Outcomes)
	writable := 0
	if s.Writable {
		writable = 1
	}
	gauge(storeWritable, writable)
}

func histogram(d *prometheus.Desc, h *discovery.Histogram, labels ...string) prometheus.Metric {
	cumulative, sum := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, bound := range h.Bounds {
		sum += h.Counts[i]
		cumulative[bound] = sum
	}
	return prometheus.MustNewConstHistogram(d, h.Count(), h.Sum, cumulative, labels...)
}

// short returns a time in its largest unit, such as 30s, 5m or 24h.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

var (
	storeFile     = describe("store_file_bytes", "Size of the database's file.")
	storeFree     = describe("store_free_bytes", "Bytes in the database's file that are free to be used again.")
	storeDiskFree = describe("store_disk_free_bytes", "Bytes that are free on the disk of the database.")
)

// storeMetrics collects those of the place where the store is kept. What cannot be said
// is left out.
type storeMetrics func() Store

// Describe implements [prometheus.Collector].
func (c storeMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- storeFile
	ch <- storeFree
	ch <- storeDiskFree
}

// Collect implements [prometheus.Collector].
func (c storeMetrics) Collect(ch chan<- prometheus.Metric) {
	s := c()
	if s.Problem == "" {
		ch <- prometheus.MustNewConstMetric(storeFile, prometheus.GaugeValue, float64(s.File))
		ch <- prometheus.MustNewConstMetric(storeFree, prometheus.GaugeValue, float64(s.Free))
	}
	if s.DiskFree != nil {
		ch <- prometheus.MustNewConstMetric(storeDiskFree, prometheus.GaugeValue, float64(*s.DiskFree))
	}
}

var (
	backupLastSuccess = describe("backup_last_success_timestamp_seconds", "When the newest regular backup was begun, in seconds since 1970; 0 if there is none.")
	backupFailures    = describe("backup_failures_total", "Regular backups that failed.")
)

// backupMetrics collects those of regular backups.
type backupMetrics func() Backup

// Describe implements [prometheus.Collector].
func (c backupMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c backupMetrics) Collect(ch chan<- prometheus.Metric) {
	b := c()
	last := 0.0
	if !b.LastSuccessAt.IsZero() {
		last = float64(b.LastSuccessAt.UnixMilli()) / 1000
	}
	ch <- prometheus.MustNewConstMetric(backupLastSuccess, prometheus.GaugeValue, last)
	ch <- prometheus.MustNewConstMetric(backupFailures, prometheus.CounterValue, float64(b.Failures))
}

var dnsQueries = describe("dns_queries_total", "Queries over DNS that were answered, by type and code.", "type", "rcode")

// dnsMetrics collects those of DNS.
type dnsMetrics func() map[string]map[string]uint64

// Describe implements [prometheus.Collector].
func (c dnsMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- dnsQueries }

// Collect implements [prometheus.Collector].
func (c dnsMetrics) Collect(ch chan<- prometheus.Metric) {
	for kind, byCode := range c() {
		for code, n := range byCode {
			ch <- prometheus.MustNewConstMetric(dnsQueries, prometheus.CounterValue, float64(n), kind, code)
		}
	}
}
