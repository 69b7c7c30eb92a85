package natsd
import ("testing";"context";"time";"os";"path/filepath";"log/slog";"github.com/nats-io/nats.go/jetstream")
func TestExp(t *testing.T){
 dir:=t.TempDir()
 lg:=slog.New(slog.NewTextHandler(os.Stderr,&slog.HandlerOptions{Level:slog.LevelDebug}))
 ctx:=context.Background()
 t0:=time.Now()
 s,err:=Start(ctx,Config{DataDir:dir,Context:"demo",Listen:"127.0.0.1:0",Logger:lg})
 if err!=nil{t.Fatal(err)}
 t.Log("start",time.Since(t0), s.ClientURL())
 t0=time.Now()
 nc,err:=s.Connect(Node); if err!=nil{t.Fatal(err)}
 t.Log("connect",time.Since(t0))
 js,_:=jetstream.New(nc)
 mk:=func(js jetstream.JetStream){ _,err:=js.CreateStream(ctx,jetstream.StreamConfig{Name:"L",Subjects:[]string{"demo.log.0.>"}}); t.Log("create",err)}
 mk(js)
 for range 5 { js.Publish(ctx,"demo.log.0.a.1",[]byte("x")) }
 nc.Close()
 t0=time.Now()
 s.Stop(); t.Log("stop",time.Since(t0))
 os.WriteFile(filepath.Join(dir,"jetstream","CORE","streams","L","meta.inf"),[]byte("{}"),0o600)
 _,err=Start(ctx,Config{DataDir:dir,Context:"demo",Logger:lg})
 t.Log(err)
}
func TestExpCluster(t *testing.T){
 lg:=slog.New(slog.NewTextHandler(os.Stderr,nil))
 for range 3 {
 t0:=time.Now()
 ss,err:=StartCluster(context.Background(),3,Config{DataDir:t.TempDir(),Context:"demo",Logger:lg})
 if err!=nil{t.Fatal(err)}
 t.Log("cluster",time.Since(t0))
 t0=time.Now()
 for _,s:=range ss{ s.Stop()}
 t.Log("stop",time.Since(t0))
 }
}
